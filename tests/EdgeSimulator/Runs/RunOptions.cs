using System.Net;
using System.Text.Json.Nodes;
using EdgeSimulator.Hub;
using EdgeSimulator.Modules;

namespace EdgeSimulator.Runs;

/// <summary>From when to when the network is away, from the start of the run.</summary>
internal readonly record struct BlackoutWindow(TimeSpan Start, TimeSpan Length);

/// <summary>What the command line asks for, checked. Immutable.</summary>
internal sealed record RunOptions
{
    /// <summary>How long to run; null is until Ctrl+C.</summary>
    public TimeSpan? Duration { get; init; }

    public IReadOnlyList<BlackoutWindow> Blackouts { get; init; } = [];

    public TimeSpan? KillEvery { get; init; }

    /// <summary>The desired properties to start with.</summary>
    public required JsonObject Desired { get; init; }

    /// <summary>The environment that a manifest gives the module.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Environment { get; init; } = [];

    /// <summary>Where messages go.</summary>
    public RoutingTable Routes { get; init; } = RoutingTable.EverythingUpstream;

    /// <summary>The module's executable or .dll; null is: a module started by hand.</summary>
    public string? ModulePath { get; init; }

    /// <summary>How the module learns who it is.</summary>
    public IdentitySource Identity { get; init; }

    /// <summary>Telemetry goes to an HTTP endpoint of the simulator.</summary>
    public bool Http { get; init; }

    /// <summary>Where the module keeps its data; null is a temporary directory.</summary>
    public string? DataDirectory { get; init; }

    /// <summary>Port of the REST API; null is none.</summary>
    public int? ApiPort { get; init; }

    public string? ReportFile { get; init; }

    /// <summary>The loopback or private address to listen on; null is the first free loopback address.</summary>
    public IPAddress? Address { get; init; }

    public string DeviceId { get; init; } = "pi-sim";

    public string ModuleId { get; init; } = "SensorForwarder";
}
