using System.Buffers;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations.Web;

/// <summary>A file of the page.</summary>
internal sealed record PageFile(string Type, byte[] Content);

/// <summary>
/// What the page for people is made of: its files, and the JSON that it shows. What changes each second comes in one
/// piece that all open pages share; what seldom changes is asked for when its revision moves.
/// </summary>
internal sealed class Dashboard(
    BootOptions boot,
    TelemetryBuffer buffer,
    Forwarder forwarder,
    SensorScheduler scheduler,
    SettingsStore settings,
    Health health,
    Trends trends,
    LinkReport link,
    RecentEvents events,
    TimeProvider timeProvider,
    IEdgeHubClient? hub = null)
{
    /// <summary>Sensors that the page names; those that fail come first, and the others are counted.</summary>
    const int MaxSensors = 200;
    const int MaxTextLength = 300;

    static readonly TimeSpan SharedFor = TimeSpan.FromMilliseconds(900);

    readonly Lock _gate = new();
    byte[] _now = [];
    long? _writtenAt;

    public bool IsOn => boot.WebDashboard;

    /// <summary>The page, and what it loads.</summary>
    public IReadOnlyDictionary<string, PageFile> Files { get; } = new Dictionary<string, PageFile>
    {
        ["/"] = Load("index.html", "text/html; charset=utf-8"),
        ["/style.css"] = Load("style.css", "text/css; charset=utf-8"),
        ["/link.js"] = Load("link.js", "text/javascript; charset=utf-8"),
        ["/history.js"] = Load("history.js", "text/javascript; charset=utf-8"),
        ["/page.js"] = Load("page.js", "text/javascript; charset=utf-8"),
        ["/icon.svg"] = Load("icon.svg", "image/svg+xml"),
    };

    /// <summary>What changes each second; written at most once in that time, however many ask.</summary>
    public byte[] WriteNow()
    {
        lock (_gate)
        {
            if (_writtenAt is { } at && timeProvider.GetElapsedTime(at) < SharedFor) return _now;
            _writtenAt = timeProvider.GetTimestamp();
            return _now = Write(WriteNow);
        }
    }

    public byte[] WriteEvents() => Write(json =>
    {
        json.WriteStartArray("events");
        foreach (var entry in events.Newest())
        {
            json.WriteStartObject();
            json.WriteString("time", entry.Time.UtcDateTime);
            json.WriteString("level", entry.Level.ToString());
            json.WriteString("text", entry.Text);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });

    public byte[] WriteLastHour() => Write(json =>
    {
        json.WriteStartArray("series");
        foreach (var (sensor, value, points) in trends.LastHour())
        {
            json.WriteStartObject();
            json.WriteString("sensor", sensor);
            json.WriteString("value", value);
            json.WriteStartArray("points");
            foreach (var point in points)
            {
                if (float.IsFinite(point)) json.WriteNumberValue(point);
                else json.WriteNullValue();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });

    /// <summary>Settings in force, and why others are not.</summary>
    public byte[] WriteSettings() => Write(json =>
    {
        var current = settings.Current;
        json.WriteNumber("version", current?.Version ?? 0);
        json.WriteStartArray("settings");
        foreach (var verdict in current?.Verdicts ?? [])
        {
            json.WriteStartObject();
            json.WriteString("key", verdict.Key);
            json.WriteString("value", Show(verdict));
            json.WriteBoolean("isDefault", verdict.IsDefault);
            if (verdict.Error is { } error) json.WriteString("error", Shorten(error));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("unknown");
        foreach (var key in current?.UnknownKeys ?? []) json.WriteStringValue(Shorten(key));
        json.WriteEndArray();
    });

    void WriteNow(Utf8JsonWriter json)
    {
        var (stored, forwarding) = (buffer.GetStatus(), forwarder.Status);
        json.WriteString("now", timeProvider.GetUtcNow().UtcDateTime);
        json.WriteString("device", boot.DeviceId);
        json.WriteString("module", boot.ModuleId);
        json.WriteString("version", StatusWriter.Version);
        json.WriteNumber("uptimeSeconds", (long)trends.Uptime.TotalSeconds);
        json.WriteNumber("eventsRevision", events.Revision);
        json.WriteNumber("hourRevision", trends.Revision);
        json.WriteNumber("settingsRevision", settings.Revision);
        json.WriteNumber("settingsRefused", settings.Current is { } parsed
            ? parsed.Verdicts.Count(verdict => verdict.Error is not null) + parsed.UnknownKeys.Count
            : 0);
        json.WriteStartArray("faults");
        foreach (var check in health.Live().Checks.Concat(health.Ready().Checks))
        {
            if (check.Fault is { } fault) json.WriteStringValue($"{check.Name}: {fault}");
        }

        json.WriteEndArray();
        WriteQueue(json, stored);
        WriteLink(json, forwarding, stored);
        WriteStorage(json, stored);
        WriteSensors(json);
    }

    void WriteQueue(Utf8JsonWriter json, BufferStatus stored)
    {
        var rates = trends.Rates;
        json.WriteStartObject("queue");
        json.WriteNumber("depth", stored.Depth);
        json.WriteNumber("inMemory", stored.InMemory);
        json.WriteNumber("oldestAgeSeconds", Math.Round(stored.OldestAge?.TotalSeconds ?? 0, 1));
        json.WriteNumber("fileBytes", stored.FileBytes);
        json.WriteNumber("maxBytes", stored.MaxBytes);
        json.WriteString("whenFull", (settings.Current?.Settings.Buffer ?? new()).WhenFull.ToString());
        if (stored.GivesUp is { } givesUp) json.WriteString("givesUp", givesUp.ToString());
        json.WriteNumber("committedPerSecond", Math.Round(rates.Committed, 2));
        json.WriteNumber("acceptedPerSecond", Math.Round(rates.Accepted, 2));

        trends.Forecast(stored).WriteTo(json);
        json.WriteNumber("deadLetters", stored.DeadLetters);
        json.WriteStartObject("evicted");
        foreach (var total in stored.Evicted) json.WriteNumber(total.Reason, total.Count);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    void WriteLink(Utf8JsonWriter json, ForwardingStatus forwarding, BufferStatus stored)
    {
        json.WriteStartObject("link");
        link.WriteState(json, forwarding);
        json.WriteString("sink", LogText.Clean(forwarding.Sink));
        if (forwarding.LastSuccess is { } success) json.WriteString(
            "lastSuccess", success.Time(timeProvider).UtcDateTime);
        json.WriteNumber("failures", forwarding.Failures);
        json.WriteNumber("readings", forwarding.Readings);
        json.WriteString("drainOrder", (settings.Current?.Settings.Forwarding.DrainOrder ?? DrainOrder.OldestFirst)
            .ToString());
        link.WriteLanes(json, forwarding, stored);
        link.WriteHolds(json, forwarding);
        if (hub is not null) json.WriteNumber("reconnects", hub.Status.Reconnects);
        json.WriteEndObject();
    }

    void WriteStorage(Utf8JsonWriter json, BufferStatus stored)
    {
        json.WriteStartObject("storage");
        json.WriteString("state", stored.Storage.ToString());
        if (stored.StorageReason is { } reason) json.WriteString("reason", LogText.Clean(reason));
        json.WriteNumber("commits", stored.Commits);
        json.WriteNumber("committedReadings", stored.CommittedReadings);
        json.WriteNumber("writeFailures", stored.WriteFailures);
        json.WriteNumber("flashBytesPerYear", ProcessIo.PerYear(trends.Uptime));
        if (stored.Salvage is { } salvage) json.WriteString("salvaged", LogText.Clean(
            $"{salvage.At:yyyy-MM-dd HH:mm}: {salvage.Reason}; {salvage.Readings} readings saved"));
        json.WriteBoolean("clockSynchronized", stored.ClockSynchronized);
        json.WriteEndObject();
    }

    void WriteSensors(Utf8JsonWriter json)
    {
        var sensors = scheduler.Health;
        json.WriteStartArray("sensors");
        foreach (var sensor in sensors.OrderBy(s => s.State != SensorState.Failing)
            .ThenBy(s => s.Name, StringComparer.Ordinal).Take(MaxSensors))
        {
            json.WriteStartObject();
            json.WriteString("name", sensor.Name);
            json.WriteString("kind", sensor.Kind);
            json.WriteString("state", sensor.State.ToString());
            if (sensor.Reason is { } reason) json.WriteString("reason", LogText.Clean(reason));
            if (sensor.Detail is { } detail) json.WriteString("detail", LogText.Clean(detail));
            json.WriteNumber("failures", sensor.Failures);
            if (sensor.Last is { } last) WriteLast(json, last);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNumber("sensorsLeftOut", Math.Max(0, sensors.Count - MaxSensors));
    }

    static void WriteLast(Utf8JsonWriter json, Reading last)
    {
        if (last.Label is { } label) json.WriteString("label", LogText.Clean(label));
        if (last.Unit is { } unit) json.WriteString("unit", LogText.Clean(unit));
        json.WriteString("time", last.Time.UtcDateTime);
        json.WriteString("quality", last.Quality.ToString());
        json.WriteStartObject("values");
        foreach (var (name, value) in last.Values.Take(Trends.MaxValues)) json.WriteNumber(name, value);
        json.WriteEndObject();
    }

    static string Show(SettingVerdict verdict)
    {
        var text = verdict.Value is JsonValue value ? value.ToString() : verdict.Value?.ToJsonString() ?? "";
        return Shorten(text);
    }

    static string Shorten(string text) => text.Length <= MaxTextLength ? text : $"{text[..(MaxTextLength - 2)]}..";

    static byte[] Write(Action<Utf8JsonWriter> write)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }

    static PageFile Load(string name, string type)
    {
        using var resource = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"{name} is not in the program");
        var content = new byte[resource.Length];
        resource.ReadExactly(content);
        return new(type, content);
    }
}
