using System.Net;
using System.Text.Json.Nodes;
using EdgeSimulator.Hub;
using EdgeSimulator.Modules;

namespace EdgeSimulator.Runs;

/// <summary>A period without network. Start is relative to the start of the run.</summary>
internal readonly record struct BlackoutWindow(TimeSpan Start, TimeSpan Length);

/// <summary>The validated command line. Immutable.</summary>
internal sealed record RunOptions
{
    /// <summary>Length of the run. Null: until Ctrl+C.</summary>
    public TimeSpan? Duration { get; init; }

    public IReadOnlyList<BlackoutWindow> Blackouts { get; init; } = [];

    /// <summary>Times at which edgeHub restarts.</summary>
    public IReadOnlyList<TimeSpan> HubRestarts { get; init; } = [];

    /// <summary>Times at which edgeHub loses an acknowledged message.</summary>
    public IReadOnlyList<TimeSpan> HubDrops { get; init; } = [];

    public TimeSpan? KillEvery { get; init; }

    /// <summary>The initial desired properties.</summary>
    public required JsonObject Desired { get; init; }

    /// <summary>The module's environment variables from the manifest.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Environment { get; init; } = [];

    public RoutingTable Routes { get; init; } = RoutingTable.EverythingUpstream;

    /// <summary>The module's executable or .dll. Null: the module is started by hand.</summary>
    public string? ModulePath { get; init; }

    public IdentitySource Identity { get; init; }

    /// <summary>The module sends telemetry to an HTTP endpoint of the simulator.</summary>
    public bool Http { get; init; }

    /// <summary>Messages are not validated.</summary>
    public bool SkipSchemas { get; init; }

    /// <summary>The module's data directory. Null: a temporary directory.</summary>
    public string? DataDirectory { get; init; }

    /// <summary>Port of the REST API. Null: no REST API.</summary>
    public int? ApiPort { get; init; }

    public string? ReportFile { get; init; }

    /// <summary>The loopback or private address to listen on. Null: the first free loopback address.</summary>
    public IPAddress? Address { get; init; }

    public string DeviceId { get; init; } = "pi-sim";

    public string ModuleId { get; init; } = "SensorForwarder";

    /// <summary>Another module that may connect and send to inputs. Null: none.</summary>
    public string? SenderId { get; init; }
}
