using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace SensorForwarder.Operations.CommandLine;

/// <summary>What <c>/status</c> answers, for somebody at a terminal.</summary>
internal static class StatusPage
{
    public static string Write(JsonObject status)
    {
        var page = new StringBuilder();
        Line(page, "SensorForwarder", $"{Text(status["version"])}, up {Duration(Number(status["uptimeSeconds"]))}");
        Line(page, "queue", $"{Text(status["queueDepth"])} readings wait, the oldest for {Duration(
            Number(status["oldestAgeSeconds"]))}; "
            + $"{Bytes(Number(status["bufferBytes"]))} on the volume; {Text(status["deadLetters"])} refused for good");
        if (status["forecast"]?["fullInSeconds"] is { } full) Line(
            page, "", $"full in about {Duration(Number(full))} at this rate");
        if (status["forecast"]?["drainedInSeconds"] is { } drained) Line(
            page, "", $"sent in about {Duration(Number(drained))} at this rate");
        Line(page, "storage", With(Text(status["storage"]), Text(status["storageReason"])));
        Line(page, "clock", Text(status["clock"]) == "Synchronized"
            ? "set by a time service"
            : "not set by a time service: times are repaired when it is");
        var paused = status["paused"]?.GetValue<bool>() == true ? ", paused" : "";
        Line(page, "forwarding", $"to {Text(status["sink"])}{paused}; {Text(status["batchesAccepted"])} batches, "
            + $"{Text(status["readingsAccepted"])} readings accepted, {Text(status["sendFailures"])} attempts failed");
        if (Text(status["lastSuccess"]) is { Length: > 0 } success) Line(page, "", $"last accepted {success}");
        if (status["link"] is JsonObject link) WriteLink(page, link);
        if (status["lanes"] is JsonObject lanes) WriteLanes(page, lanes);
        WriteHolds(page, status);
        if (status["hub"] is JsonObject hub)
        {
            var state = $"{Text(hub["state"])} since {Text(hub["since"])}, {Text(hub["reconnects"])} connections lost";
            Line(page, "hub", With(state, Text(hub["lastError"])));
        }

        if (Text(status["settingsFileError"]) is { Length: > 0 } problem)
            Line(page, "settings", $"the file changes nothing: {problem}");
        if (status["sensors"] is JsonObject sensors) WriteSensors(page, sensors);
        if (status["sensorsLeftOut"] is { } leftOut) Line(page, "", $"and {Text(leftOut)} more");
        return page.ToString();
    }

    static void WriteLink(StringBuilder page, JsonObject link)
    {
        var state = Text(link["state"]) switch
        {
            "Up" => "up",
            "Down" => "down",
            "Refusing" => "the receiver refuses",
            "Failing" => "the receiver answers with an error",
            "Paused" => "paused by a person",
            _ => "nothing was sent yet",
        };
        Line(page, "link", $"{state} since {Text(link["since"])}");
        if (Text(link["lastError"]) is { Length: > 0 } error) Line(
            page, "", $"last error {Text(link["lastErrorAt"])}: {error}");
    }

    static void WriteLanes(StringBuilder page, JsonObject lanes)
    {
        foreach (var (name, text) in (ReadOnlySpan<(string, string)>)[("live", "live"), ("backfill", "backlog")])
        {
            if (lanes[name] is not JsonObject lane) continue;
            var oldest = lane["oldestAgeSeconds"] is { } age ? $", the oldest for {Duration(Number(age))}" : "";
            var accepted = Text(lane["lastAccepted"]) is { Length: > 0 } at
                ? $"last accepted {at}"
                : "none accepted yet";
            Line(page, text,
                $"{Text(lane["waiting"])} readings wait{oldest}; {Text(lane["inFlightBatches"])} batches with "
                + $"{Text(lane["inFlightReadings"])} readings under way; "
                + $"{Text(lane["batchesAccepted"])} batches, {accepted}");
        }
    }

    static void WriteHolds(StringBuilder page, JsonObject status)
    {
        if (status["quota"] is JsonObject quota)
        {
            var what = quota["isOnlyBacklogHeldBack"]?.GetValue<bool>() == true ? "the backlog is" : "readings are";
            var held = Text(quota["heldBackUntil"]) is { Length: > 0 } until ? $"; {what} held back until {until}" : "";
            Line(page, "quota", $"{Text(quota["messagesToday"])} of {Text(
                quota["dailyMessageLimit"])} messages today{held}");
        }

        if (status["upstream"] is not JsonObject upstream) return;
        var waiting = upstream["messages"] is { } messages ? $"{Text(messages)} messages wait in it" : "";
        Line(page, "edgeHub", Text(upstream["heldSince"]) is { Length: > 0 } since
            ? With($"gets nothing to the cloud since {since}, readings are kept here, one batch a minute goes", waiting)
            : waiting);
    }

    static void WriteSensors(StringBuilder page, JsonObject sensors)
    {
        page.Append('\n');
        var width = sensors.Select(sensor => sensor.Key.Length).Append(6).Max();
        page.AppendLine(CultureInfo.InvariantCulture,
            $"{"sensor".PadRight(width)}  {"kind",-10} {"state",-9} {"readings",9} {"failures",9}  reason");
        foreach (var (name, sensor) in sensors)
        {
            var line = $"{Text(name).PadRight(width)}  {Text(sensor!["kind"]),-10} {Text(sensor["state"]),-9} "
                + $"{Text(sensor["readings"]),9} {Text(sensor["failures"]),9}  "
                + With(Text(sensor["reason"]), Text(sensor["detail"]));
            page.AppendLine(line.TrimEnd());
        }
    }

    static void Line(StringBuilder page, string name, string text) =>
        page.AppendLine(CultureInfo.InvariantCulture, $"{name,-16}{text}");

    static string With(string text, string detail) => detail.Length == 0 ? text : $"{text}: {detail}";

    // From another process: nothing in it may move the cursor.
    static string Text(JsonNode? node) => LogText.Clean(node switch
    {
        JsonValue value when value.TryGetValue<string>(out var text) => text,
        null => "",
        _ => node.ToJsonString(),
    });

    static double Number(JsonNode? node) => node is JsonValue value && value.TryGetValue<double>(out var number)
        ? number
        : 0;

    static string Duration(double seconds)
    {
        var span = TimeSpan.FromSeconds(Math.Clamp(seconds, 0, 1e9));
        return span switch
        {
            { TotalDays: >= 1 } => $"{(int)span.TotalDays} d {span.Hours} h",
            { TotalHours: >= 1 } => $"{span.Hours} h {span.Minutes} min",
            { TotalMinutes: >= 1 } => $"{span.Minutes} min {span.Seconds} s",
            _ => $"{(int)span.TotalSeconds} s",
        };
    }

    static string Bytes(double bytes) => bytes switch
    {
        >= 1 << 30 => string.Create(CultureInfo.InvariantCulture, $"{bytes / (1 << 30):0.0} GB"),
        >= 1 << 20 => string.Create(CultureInfo.InvariantCulture, $"{bytes / (1 << 20):0.0} MB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1024:0} KB"),
    };
}
