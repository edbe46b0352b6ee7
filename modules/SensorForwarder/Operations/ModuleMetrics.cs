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

    private readonly Meter _meter;

    public ModuleMetrics(
        BootOptions boot,
        TelemetryBuffer buffer,
        Forwarder forwarder,
        SensorScheduler scheduler,
        IEdgeHubClient? hub = null)
    {
        // The labels that IoT Edge's metrics collector expects on every sample.
        _meter = new Meter(MeterName, StatusWriter.Version,
        [
            new("iothub", boot.Identity?.HubHostName ?? ""),
            new("edge_device", boot.DeviceId),
            new("module", boot.ModuleId),
            new("instance_number", Guid.NewGuid().ToString()),
        ]);
        Buffer(buffer);
        Forwarding(forwarder);
        Sensors(scheduler);
        if (hub is not null)
        {
            _meter.CreateObservableGauge("sensorforwarder_hub_connected", () => hub.Status.State == HubState.Connected ? 1 : 0);
            _meter.CreateObservableCounter("sensorforwarder_hub_disconnects", () => hub.Status.Reconnects);
        }
    }

    public void Dispose() => _meter.Dispose();

    private void Buffer(TelemetryBuffer buffer)
    {
        _meter.CreateObservableGauge("sensorforwarder_queue_depth", () => buffer.GetStatus().Depth,
            description: "Readings that wait to be forwarded.");
        _meter.CreateObservableGauge("sensorforwarder_queue_oldest_age_seconds",
            () => buffer.GetStatus().OldestAge?.TotalSeconds ?? 0, description: "Age of the oldest of them.");
        _meter.CreateObservableGauge("sensorforwarder_buffer_bytes", () => buffer.GetStatus().FileBytes,
            description: "What the buffer takes on the volume.");
        _meter.CreateObservableGauge("sensorforwarder_dead_letters", () => buffer.GetStatus().DeadLetters,
            description: "Readings that the receiver refused for good.");
    }

    private void Forwarding(Forwarder forwarder)
    {
        _meter.CreateObservableCounter("sensorforwarder_batches_accepted", () => forwarder.Status.Batches);
        _meter.CreateObservableCounter("sensorforwarder_readings_accepted", () => forwarder.Status.Readings);
        _meter.CreateObservableCounter("sensorforwarder_sent_bytes", () => forwarder.Status.Bytes,
            description: "Bytes of the batches that were accepted, before compression.");
        _meter.CreateObservableCounter("sensorforwarder_send_failures", () => forwarder.Status.Failures);
    }

    private void Sensors(SensorScheduler scheduler)
    {
        _meter.CreateObservableCounter("sensorforwarder_sensor_readings",
            () => scheduler.Health.Select(sensor => Sample(sensor, sensor.Readings)));
        _meter.CreateObservableCounter("sensorforwarder_sensor_failures",
            () => scheduler.Health.Select(sensor => Sample(sensor, sensor.Failures)));
        _meter.CreateObservableCounter("sensorforwarder_sensor_missed",
            () => scheduler.Health.Select(sensor => Sample(sensor, sensor.Missed)));
    }

    private static Measurement<long> Sample(SensorHealth sensor, long value) =>
        new(value, new KeyValuePair<string, object?>("sensor", sensor.Name));
}
