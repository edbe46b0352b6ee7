using System.Buffers;
using System.Reflection;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations;

/// <summary>Writes the state of the module as JSON: the answer of <c>getStatus</c>, of <c>/status</c>, and the
/// <c>status</c> section of the reported properties. No secret is in it.</summary>
internal sealed class StatusWriter(
    TelemetryBuffer buffer,
    Forwarder forwarder,
    SensorScheduler scheduler,
    SettingsStore settings,
    Trends trends,
    LinkReport link,
    TimeProvider timeProvider,
    IEdgeHubClient? hub = null)
{
    public static readonly string Version =
        Assembly.GetExecutingAssembly().GetName().Version?.ToString(3) ?? "unknown";

    /// <summary>Bytes in the answer of a direct method at most; IoT Hub takes 128 KB, with what it adds.</summary>
    public const int MaxAnswerBytes = 96 << 10;

    /// <summary>The hub takes reported properties of 32 KB; the rest is for the acknowledgements.</summary>
    public const int MaxReportedBytes = 7 << 10;

    readonly long _started = timeProvider.GetTimestamp();

    /// <param name="maxBytes">At least 4 KB: sensors that have no room are counted, those that fail come first.</param>
    public byte[] Write(int maxBytes = MaxAnswerBytes)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteString("version", Version);
            json.WriteNumber("uptimeSeconds", (long)timeProvider.GetElapsedTime(_started).TotalSeconds);
            var (stored, forwarding) = (buffer.GetStatus(), forwarder.Status);
            WriteBuffer(json, stored);
            WriteForwarding(json, forwarding);
            link.WriteLanes(json, forwarding, stored);
            json.WriteStartObject("link");
            link.WriteState(json, forwarding);
            json.WriteEndObject();
            if (hub is not null) WriteHub(json, hub.Status);
            if (settings.FileProblem is { } problem) json.WriteString("settingsFileError", problem);
            WriteSensors(json, maxBytes);
            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }

    /// <summary>Differs when something is in another state than it was; numbers that only count do not show.</summary>
    public int StateHash()
    {
        var hash = new HashCode();
        var (stored, forwarding) = (buffer.GetStatus(), forwarder.Status);
        hash.Add(buffer.Epoch);
        hash.Add(stored.Storage);
        hash.Add(stored.GivesUp);
        hash.Add(stored.ClockSynchronized);
        hash.Add(stored.DeadLetters > 0);
        hash.Add(stored.Evicted.Count);
        hash.Add(stored.Salvage?.At);
        hash.Add(stored.Salvage?.IsComplete);
        hash.Add(forwarding.Sink);
        hash.Add(forwarding.Paused);
        hash.Add(forwarding.LastError is null);
        hash.Add(forwarding.LastError is null ? null : forwarding.LastErrorAnswer);
        hash.Add(forwarding.UpstreamHeldSince is null);
        hash.Add(hub?.Status.State == HubState.Connected);
        hash.Add(settings.FileProblem);
        foreach (var sensor in scheduler.Health.OrderBy(sensor => sensor.Name, StringComparer.Ordinal))
        {
            hash.Add(sensor.Name);
            hash.Add(sensor.Kind);
            hash.Add(sensor.State);
            hash.Add(sensor.Reason);
        }

        return hash.ToHashCode();
    }

    void WriteBuffer(Utf8JsonWriter json, BufferStatus status)
    {
        json.WriteString("epoch", buffer.Epoch);
        json.WriteNumber("lastCommittedId", buffer.LastCommittedId);
        json.WriteNumber("queueDepth", status.Depth);
        json.WriteNumber("oldestAgeSeconds", Math.Round(status.OldestAge?.TotalSeconds ?? 0, 1));
        json.WriteStartObject("forecast");
        trends.Forecast(status).WriteTo(json);
        json.WriteEndObject();
        json.WriteNumber("bufferBytes", status.FileBytes);
        json.WriteNumber("deadLetters", status.DeadLetters);
        json.WriteString("storage", status.Storage.ToString());
        if (status.StorageReason is { } reason) json.WriteString("storageReason", LogText.Clean(reason));
        json.WriteString("clock", status.ClockSynchronized ? "Synchronized" : "NotSynchronized");
        json.WriteStartObject("evicted");
        foreach (var evicted in status.Evicted) json.WriteNumber(evicted.Reason, evicted.Count);
        json.WriteEndObject();
        if (status.Salvage is { } salvage) WriteSalvage(json, salvage);
    }

    static void WriteSalvage(Utf8JsonWriter json, SalvageReport salvage)
    {
        json.WriteStartObject("salvage");
        json.WriteString("at", salvage.At.UtcDateTime);
        json.WriteString("reason", LogText.Clean(salvage.Reason));
        json.WriteNumber("readings", salvage.Readings);
        json.WriteNumber("missing", salvage.Missing);
        json.WriteBoolean("complete", salvage.IsComplete);
        json.WriteString("keptAs", LogText.Clean(Path.GetFileName(salvage.KeptAs)));
        json.WriteEndObject();
    }

    void WriteForwarding(Utf8JsonWriter json, ForwardingStatus status)
    {
        json.WriteString("sink", LogText.Clean(status.Sink));
        json.WriteBoolean("paused", status.Paused);
        json.WriteNumber("batchesAccepted", status.Batches);
        json.WriteNumber("readingsAccepted", status.Readings);
        json.WriteNumber("sendFailures", status.Failures);
        link.WriteHolds(json, status);
        if (status.LastSuccess is { } success) json.WriteString("lastSuccess", success.Time(timeProvider).UtcDateTime);
        if (status.LastError is { } error) json.WriteString("lastError", LogText.Clean(error));
    }

    void WriteHub(Utf8JsonWriter json, HubStatus status)
    {
        json.WriteStartObject("hub");
        json.WriteString("state", status.State.ToString());
        json.WriteString("since", status.Since.Time(timeProvider).UtcDateTime);
        json.WriteNumber("reconnects", status.Reconnects);
        if (status.LastError is { } error) json.WriteString("lastError", LogText.Clean(error));
        json.WriteEndObject();
    }

    void WriteSensors(Utf8JsonWriter json, int maxBytes)
    {
        // What one entry takes at most: a name of 64 characters, two texts of 200, all of them escaped.
        const int RoomForOne = 3072;

        var health = scheduler.Health;
        json.WriteStartObject("sensorStates");
        foreach (var state in health.GroupBy(sensor => sensor.State).OrderBy(state => state.Key))
            json.WriteNumber(state.Key.ToString(), state.Count());
        json.WriteEndObject();

        // Those that fail first: they are why somebody looks.
        var leftOut = 0;
        json.WriteStartObject("sensors");
        foreach (var sensor in health.OrderBy(sensor => sensor.State != SensorState.Failing)
            .ThenBy(sensor => sensor.Name, StringComparer.Ordinal))
        {
            if (json.BytesCommitted + json.BytesPending + RoomForOne > maxBytes)
            {
                leftOut++;
                continue;
            }

            json.WriteStartObject(sensor.Name);
            json.WriteString("kind", sensor.Kind);
            json.WriteString("state", sensor.State.ToString());
            if (sensor.Reason is { } reason) json.WriteString("reason", LogText.Clean(reason));
            if (sensor.Detail is { } detail) json.WriteString("detail", LogText.Clean(detail));
            json.WriteNumber("readings", sensor.Readings);
            json.WriteNumber("failures", sensor.Failures);
            json.WriteNumber("missed", sensor.Missed);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        if (leftOut > 0) json.WriteNumber("sensorsLeftOut", leftOut);
    }
}
