using System.Buffers;
using System.Reflection;
using System.Text.Json;
using SensorForwarder.Buffer;
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
    TimeProvider timeProvider,
    IEdgeHubClient? hub = null)
{
    public static readonly string Version =
        Assembly.GetExecutingAssembly().GetName().Version?.ToString(3) ?? "unknown";

    /// <summary>The hub takes reported properties of 32 KB; this many sensors fit in any case.</summary>
    public const int MaxSensorsInTwin = 50;

    readonly long _started = timeProvider.GetTimestamp();

    public byte[] Write(int maxSensors = int.MaxValue)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteString("version", Version);
            json.WriteNumber("uptimeSeconds", (long)timeProvider.GetElapsedTime(_started).TotalSeconds);
            WriteBuffer(json, buffer.GetStatus());
            WriteForwarding(json, forwarder.Status);
            if (hub is not null) WriteHub(json, hub.Status);
            WriteSensors(json, maxSensors);
            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }

    void WriteBuffer(Utf8JsonWriter json, BufferStatus status)
    {
        json.WriteString("epoch", buffer.Epoch);
        json.WriteNumber("lastCommittedId", buffer.LastCommittedId);
        json.WriteNumber("queueDepth", status.Depth);
        json.WriteNumber("oldestAgeSeconds", Math.Round(status.OldestAge?.TotalSeconds ?? 0, 1));
        json.WriteNumber("bufferBytes", status.FileBytes);
        json.WriteNumber("deadLetters", status.DeadLetters);
    }

    static void WriteForwarding(Utf8JsonWriter json, ForwardingStatus status)
    {
        json.WriteString("sink", status.Sink);
        json.WriteBoolean("paused", status.Paused);
        json.WriteNumber("batchesAccepted", status.Batches);
        json.WriteNumber("readingsAccepted", status.Readings);
        json.WriteNumber("sendFailures", status.Failures);
        if (status.LastSuccess is { } success) json.WriteString("lastSuccess", success.UtcDateTime);
        if (status.LastError is { } error) json.WriteString("lastError", LogText.Clean(error));
    }

    static void WriteHub(Utf8JsonWriter json, HubStatus status)
    {
        json.WriteStartObject("hub");
        json.WriteString("state", status.State.ToString());
        json.WriteString("since", status.Since.UtcDateTime);
        json.WriteNumber("reconnects", status.Reconnects);
        if (status.LastError is { } error) json.WriteString("lastError", LogText.Clean(error));
        json.WriteEndObject();
    }

    void WriteSensors(Utf8JsonWriter json, int maxSensors)
    {
        // Those that fail first: they are why somebody looks.
        var sensors = scheduler.Health.OrderBy(sensor => sensor.State != SensorState.Failing).ToList();
        json.WriteStartObject("sensors");
        foreach (var sensor in sensors.Take(maxSensors))
        {
            json.WriteStartObject(sensor.Name);
            json.WriteString("kind", sensor.Kind);
            json.WriteString("state", sensor.State.ToString());
            if (sensor.Reason is { } reason) json.WriteString("reason", LogText.Clean(reason));
            json.WriteNumber("readings", sensor.Readings);
            json.WriteNumber("failures", sensor.Failures);
            json.WriteNumber("missed", sensor.Missed);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        if (sensors.Count > maxSensors) json.WriteNumber("sensorsLeftOut", sensors.Count - maxSensors);
    }
}
