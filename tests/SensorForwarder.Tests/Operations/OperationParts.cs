using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Intake;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Operations.Metrics;
using SensorForwarder.Operations.Status;
using SensorForwarder.Operations.Web;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Operations;

/// <summary>The parts that report the state of a module, over real parts.</summary>
internal sealed class OperationParts : IDisposable
{
    readonly TelemetryBuffer _buffer;
    readonly Forwarder _forwarder;

    public OperationParts(
        TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler, SettingsStore settings, TimeProvider clock, IEdgeHubClient? hub = null,
        IntakeStore? intake = null, MqttIntake? mqtt = null)
    {
        (_buffer, _forwarder) = (buffer, forwarder);
        var boot = BootOptions.Read(new ConfigurationBuilder().AddInMemoryCollection([new("Device__Id", "pi")]).Build());
        Trends = new(buffer, forwarder, scheduler, clock, hub);
        Source = new(boot, buffer, forwarder, scheduler, settings, Trends, clock, hub, intake, mqtt);
        Health = new(Source, buffer, forwarder, scheduler, clock);
        Page = new(boot, Source, settings, Health, Trends, new(clock), clock);
    }

    public OperationParts(SettingsFixture parts, TimeProvider clock)
        : this(parts, clock, hub: null)
    {
    }

    public OperationParts(SettingsFixture parts, TimeProvider clock, IEdgeHubClient? hub, IntakeStore? intake = null, MqttIntake? mqtt = null)
        : this(parts.Buffer, parts.Forwarder, parts.Scheduler, parts.Store, clock, hub, intake, mqtt)
    {
    }

    /// <summary>Samples when the test asks for it.</summary>
    public Trends Trends { get; }

    public StatusSource Source { get; }

    public Health Health { get; }

    public Dashboard Page { get; }

    public JsonNode ReadStatus() => JsonNode.Parse(StatusDocument.Write(Source.Capture()).Span)!;

    public JsonNode ReadPage() => JsonNode.Parse(Page.WriteNow())!;

    public ModuleMetrics NewMetrics(BootOptions boot) => new(boot, Source, _buffer, _forwarder);

    public void Dispose()
    {
        Health.Dispose();
        Trends.Dispose();
    }
}
