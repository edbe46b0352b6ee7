using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Web;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Operations;

/// <summary>What tells people of the state of a module, over the parts of one.</summary>
internal sealed class OperationParts : IDisposable
{
    readonly Health _health;

    public OperationParts(
        TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler, SettingsStore settings, TimeProvider clock, IEdgeHubClient? hub = null)
    {
        Trends = new(buffer, forwarder, scheduler, clock, hub);
        var link = new LinkReport(buffer, Trends, clock, hub);
        Status = new(buffer, forwarder, scheduler, settings, Trends, link, clock, hub);
        _health = new(buffer, forwarder, scheduler, settings, clock, hub);
        Page = new(
            BootOptions.Read(new ConfigurationBuilder().AddInMemoryCollection([new("Device__Id", "pi")]).Build()), buffer, forwarder, scheduler,
            settings, _health, Trends, link, new(clock), clock, hub);
    }

    public OperationParts(SettingsFixture parts, TimeProvider clock)
        : this(parts.Buffer, parts.Forwarder, parts.Scheduler, parts.Store, clock)
    {
    }

    /// <summary>Looks when the test says so.</summary>
    public Trends Trends { get; }

    public StatusWriter Status { get; }

    public Dashboard Page { get; }

    public JsonNode ReadStatus() => JsonNode.Parse(Status.Write())!;

    public JsonNode ReadPage() => JsonNode.Parse(Page.WriteNow())!;

    public void Dispose()
    {
        _health.Dispose();
        Trends.Dispose();
    }
}
