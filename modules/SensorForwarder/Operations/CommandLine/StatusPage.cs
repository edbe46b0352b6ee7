using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>Formats the JSON of <c>/status</c> as text for a terminal.</summary>
internal static class StatusPage
{
    public static string Write(JsonObject json)
    {
        var (page, status) = (new StringBuilder(), new Part(json));
        Line(page, "SensorForwarder", $"{status["version"]}, up {status["uptimeSeconds"].Duration}");
        Line(page, "queue", $"{status["queueDepth"]} readings wait, the oldest for "
            + $"{status["oldestAgeSeconds"].Duration}; {status["bufferBytes"].Bytes} on the volume; "
            + $"{status["deadLetters"]} refused permanently");
        var forecast = status["forecast"];
        if (forecast["fullInSeconds"] is { Exists: true } full)
            Line(page, "", $"full in about {full.Duration} at this rate");
        if (forecast["drainedInSeconds"] is { Exists: true } drained)
            Line(page, "", $"sent in about {drained.Duration} at this rate");
        Line(page, "storage", With($"{status["storage"]}", status["storageReason"]));
        Line(page, "clock", $"{status["clock"]}" == "Synchronized"
            ? "synchronized by a time service"
            : "not synchronized yet: times are corrected once it is");
        var (link, paused) = (status["link"], status["paused"].IsTrue ? ", paused" : "");
        Line(page, "forwarding", $"to {status["sink"]}{paused}; {status["batchesAccepted"]} batches, "
            + $"{status["readingsAccepted"]} readings accepted, {link["delivered"]} delivered, "
            + $"{status["sendFailures"]} attempts failed");
        if (status["lastSuccess"] is { Exists: true } success) Line(page, "", $"last accepted {success}");
        if (link.Exists) WriteLink(page, link);
        foreach (var (name, text) in (ReadOnlySpan<(string, string)>)
            [("live", "live"), ("backfill", "backlog"), ("alarm", "alarms")])
            if (status["lanes"][name] is { Exists: true } lane) WriteLane(page, text, lane);
        WriteHolds(page, status["quota"], link, status["upstream"]);
        if (status["hub"] is { Exists: true } hub)
        {
            var state = $"{hub["state"]} since {hub["since"]}, {hub["reconnects"]} connections lost";
            Line(page, "hub", With(state, hub["lastError"]));
        }

        if (status["settingsFileError"] is { Exists: true } problem)
            Line(page, "settings", $"the file is ignored: {problem}");
        foreach (var entry in json["alarms"] as JsonArray ?? [])
        {
            var alarm = new Part(entry);
            Line(page, "alarm", $"{alarm["sensor"]}: {alarm["name"]} ({alarm["severity"]}), since {alarm["since"]}");
        }

        if (json["intake"] is JsonObject sources) WriteSources(page, sources);
        if (json["sensors"] is JsonObject sensors) WriteSensors(page, sensors);
        if (status["sensorsLeftOut"] is { Exists: true } leftOut) Line(page, "", $"and {leftOut} more");
        return page.ToString();
    }

    static void WriteLink(StringBuilder page, Part link)
    {
        var state = $"{link["state"]}" switch
        {
            "Up" => "up",
            "Down" => "down",
            "Refusing" => "the receiver refuses",
            "Failing" => "the receiver answers with an error",
            "Paused" => "paused by the direct method",
            _ => "nothing was sent yet",
        };
        Line(page, "link", $"{state} since {link["since"]}");
        if (link["lastError"] is { Exists: true } error) Line(page, "", $"last error {link["lastErrorAt"]}: {error}");
    }

    static void WriteLane(StringBuilder page, string name, Part lane)
    {
        var oldest = lane["oldestAgeSeconds"] is { Exists: true } age ? $", the oldest for {age.Duration}" : "";
        var accepted = lane["lastAccepted"] is { Exists: true } at ? $"last accepted {at}" : "none accepted yet";
        Line(page, name, $"{lane["waiting"]} readings wait{oldest}; {lane["inFlightBatches"]} batches with "
            + $"{lane["inFlightReadings"]} readings in flight; {lane["batchesAccepted"]} batches, {accepted}");
    }

    static void WriteHolds(StringBuilder page, Part quota, Part link, Part upstream)
    {
        if (quota.Exists)
        {
            var what = quota["isOnlyBacklogHeldBack"].IsTrue ? "the backlog is" : "readings are";
            var held = quota["heldBackUntil"] is { Exists: true } until ? $"; {what} held back until {until}" : "";
            Line(page, "quota", $"{quota["messagesToday"]} of {quota["dailyMessageLimit"]} messages today{held}");
        }

        if (link["stuckBatch"] is { Exists: true } stuck)
            Line(page, "stuck", $"batch {stuck["id"]} since {stuck["since"]}, {stuck["attempts"]} attempts: "
                + $"{stuck["answer"]}");
        if ($"{link["custody"]}" == "edgeHub")
            Line(page, "custody", "edgeHub: it has no metrics page, so nothing shows what has reached the cloud");
        if (upstream["handedOver"] is { Exists: true } handedOver)
            Line(page, "custody", upstream["handedOverSince"] is { Exists: true } accepted
                ? $"cloud: {handedOver} readings handed over to edgeHub are not confirmed, the first since {accepted}"
                : "cloud: it has everything that edgeHub has accepted");
        if (upstream["lostMessages"].Number > 0)
            Line(page, "", $"edgeHub lost {upstream["lostMessages"]} messages; {upstream["returnedReadings"]} readings "
                + "were sent again");
        var messages = upstream["messages"];
        var waiting = messages.Exists ? $"{messages} messages queued in it" : "";
        if (upstream["heldSince"] is { Exists: true } since)
            waiting = $"nothing delivered to the cloud since {since}; readings are held back, one batch sent a minute"
                + (messages.Exists ? $"; {waiting}" : "");
        if (waiting.Length > 0) Line(page, "edgeHub", waiting);
    }

    static void WriteSources(StringBuilder page, JsonObject sources)
    {
        foreach (var (name, entry) in sources)
        {
            var source = new Part(entry);
            var refused = string.Join(", ", (entry?["refused"] as JsonObject ?? []).Select(
                count => $"{count.Value} {LogText.Clean(count.Key)}"));
            var seen = (source["lastSeen"] is { Exists: true } time ? $"last seen {time}" : "nothing seen yet")
                + (source["silent"].IsTrue ? ", silent for too long" : "");
            Line(page, "intake", $"{LogText.Clean(name)}: {source["accepted"]} readings stored, {seen}"
                + (refused.Length > 0 ? $"; refused: {refused}, the last time: {source["lastReason"]}" : ""));
        }
    }

    static void WriteSensors(StringBuilder page, JsonObject sensors)
    {
        page.Append('\n');
        var width = sensors.Select(sensor => sensor.Key.Length).Append(6).Max();
        page.AppendLine(CultureInfo.InvariantCulture,
            $"{"sensor".PadRight(width)}  {"kind",-10} {"state",-9} {"readings",9} {"failures",9}  reason");
        foreach (var (name, entry) in sensors)
        {
            var sensor = new Part(entry);
            var line = $"{LogText.Clean(name).PadRight(width)}  {sensor["kind"],-10} {sensor["state"],-9} "
                + $"{sensor["readings"],9} {sensor["failures"],9}  {With($"{sensor["reason"]}", sensor["detail"])}";
            page.AppendLine(line.TrimEnd());
        }
    }

    static void Line(StringBuilder page, string name, string text) =>
        page.AppendLine(CultureInfo.InvariantCulture, $"{name,-16}{text}");

    static string With(string text, Part detail) => detail.Exists ? $"{text}: {detail}" : text;

    /// <summary>A value of the status; a missing one has no parts and an empty text.</summary>
    readonly struct Part(JsonNode? node)
    {
        public bool Exists => ToString().Length > 0;

        public bool IsTrue => node is JsonValue value && value.TryGetValue<bool>(out var flag) && flag;

        public double Number => node is JsonValue value && value.TryGetValue<double>(out var number) ? number : 0;

        public string Duration => TimeSpan.FromSeconds(Math.Clamp(Number, 0, 1e9)) switch
        {
            { TotalDays: >= 1 } span => $"{(int)span.TotalDays} d {span.Hours} h",
            { TotalHours: >= 1 } span => $"{span.Hours} h {span.Minutes} min",
            { TotalMinutes: >= 1 } span => $"{span.Minutes} min {span.Seconds} s",
            var span => $"{(int)span.TotalSeconds} s",
        };

        public string Bytes => Number switch
        {
            >= 1 << 30 => string.Create(CultureInfo.InvariantCulture, $"{Number / (1 << 30):0.0} GB"),
            >= 1 << 20 => string.Create(CultureInfo.InvariantCulture, $"{Number / (1 << 20):0.0} MB"),
            _ => string.Create(CultureInfo.InvariantCulture, $"{Number / 1024:0} KB"),
        };

        public Part this[string name] => new((node as JsonObject)?[name]);

        // The text comes from another process: control characters are removed.
        public override string ToString() => LogText.Clean(
            node is JsonValue value && value.TryGetValue<string>(out var text) ? text : node?.ToJsonString() ?? "");
    }
}
