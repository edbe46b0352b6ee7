using System.Diagnostics.Metrics;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations;

/// <summary>
/// Every instrument of the module. They are observed: each part keeps its own numbers, and a scrape reads them, so that
/// nothing on the way of a reading knows about metrics.
/// </summary>
internal sealed class ModuleMetrics : IDisposable
{
    public const string MeterName = "SensorForwarder";
    const string Prefix = "sensorforwarder_";

    readonly Meter _meter = new(MeterName);
    readonly KeyValuePair<string, object?>[] _labels;

    public ModuleMetrics(
        BootOptions boot,
        TelemetryBuffer buffer,
        Forwarder forwarder,
        SensorScheduler scheduler,
        IEdgeHubClient? hub = null)
    {
        // The labels that IoT Edge's metrics collector expects on every sample.
        _labels =
        [
            new("iothub", boot.Identity?.HubHostName ?? ""),
            new("edge_device", boot.DeviceId),
            new("module", boot.ModuleId),
            new("instance_number", Guid.NewGuid().ToString()),
        ];
        Buffer(buffer);
        Forwarding(forwarder);
        Sensors(scheduler);
        if (hub is not null) Hub(hub);
    }

    public void Dispose() => _meter.Dispose();

    void Buffer(TelemetryBuffer buffer)
    {
        Gauge("queue_depth", "Readings that wait to be forwarded.", () => buffer.GetStatus().Depth);
        Gauge("queue_oldest_age_seconds", "Age of the oldest of them.", () => buffer.GetStatus().OldestAge?.TotalSeconds ?? 0);
        Gauge("buffer_bytes", "What the buffer takes on the volume.", () => buffer.GetStatus().FileBytes);
        Gauge("dead_letters", "Readings that the receiver refused for good.", () => buffer.GetStatus().DeadLetters);
        Counter("readings_committed", "Readings that reached the medium.", () => buffer.GetStatus().CommittedReadings);
    }

    void Forwarding(Forwarder forwarder)
    {
        Counter("batches_accepted", "Batches that the receiver has.", () => forwarder.Status.Batches);
        Counter("readings_accepted", "Readings in those batches.", () => forwarder.Status.Readings);
        Counter("sent_bytes", "Bytes of those batches, before compression.", () => forwarder.Status.Bytes);
        Counter("send_failures", "Attempts to send that failed.", () => forwarder.Status.Failures);
    }

    void Hub(IEdgeHubClient hub)
    {
        Gauge("hub_connected", "1 while the hub is connected.", () => hub.Status.State == HubState.Connected ? 1 : 0);
        Counter("hub_disconnects", "Connections that were lost; renewals of the token are not counted.",
            () => hub.Status.Reconnects);
        Counter("hub_token_renewals", "Connections made anew for a fresh token; no message waited for an acknowledgement in vain.",
            () => hub.Counters.Renewals);
        Counter("hub_messages_sent", "Messages handed to the connection.", () => hub.Counters.Sent);
        Counter("hub_messages_acknowledged", "Messages that the hub acknowledged.", () => hub.Counters.Acknowledged);
        Counter("hub_acknowledgement_timeouts", "Messages whose acknowledgement did not come in time.",
            () => hub.Counters.TimedOut);
        Counter("hub_acknowledged_bytes", "Bytes of those acknowledged, as MQTT packets.", () => hub.Counters.AcknowledgedBytes);
        Counter("hub_method_calls", "Direct methods that were called.", () => hub.Counters.MethodCalls);
    }

    void Sensors(SensorScheduler scheduler)
    {
        PerSensor("sensor_readings", "Readings with values.", sensor => sensor.Readings);
        PerSensor("sensor_failures", "Attempts to read that failed.", sensor => sensor.Failures);
        PerSensor("sensor_missed", "Turns left out since the one before took too long.", sensor => sensor.Missed);

        void PerSensor(string name, string text, Func<SensorHealth, long> value) => _meter.CreateObservableCounter(
            $"{Prefix}{name}",
            () => scheduler.Health.Select(sensor => new Measurement<long>(value(sensor), [.. _labels, new("sensor", sensor.Name)])),
            description: text);
    }

    void Gauge(string name, string text, Func<double> value) => _meter.CreateObservableGauge(
        $"{Prefix}{name}", () => new Measurement<double>(value(), _labels), description: text);

    void Counter(string name, string text, Func<long> value) => _meter.CreateObservableCounter(
        $"{Prefix}{name}", () => new Measurement<long>(value(), _labels), description: text);
}
