using System.Collections.Concurrent;
using EdgeSimulator.Accounting;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using EdgeSimulator.Twins;
using SensorForwarder.EdgeHub;
using SensorForwarder.Net;
using SensorForwarder.Tests.Simulator;
using SensorForwarder.Tests.Support;
using Api = EdgeSimulator.Workload.WorkloadApi;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The simulator on its own loopback address, and the module's connection to it, with a chosen
/// clock.</summary>
internal sealed class HubWorld : IAsyncDisposable
{
    /// <summary>The key of the reference's test vectors.</summary>
    public const string Key = SimulatedHub.Key;

    readonly SimulatedHub _simulated;
    readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("hub-world-");
    readonly Api _workload;
    readonly TimeProvider _moduleTime;

    HubWorld(SimulatedHub simulated, TimeProvider moduleTime)
    {
        _simulated = simulated;
        _moduleTime = moduleTime;
        _workload = new(Path.Combine(_directory.FullName, "workload.sock"), Identity, simulated.TrustBundle, Faults);
        Used = WorkloadIdentity;
        Connection = NewConnection();
    }

    public ModuleIdentity Identity => _simulated.Identity;

    /// <summary>The identity of <see cref="Connection"/>.</summary>
    public EdgeIdentity Used { get; private set; }

    public FaultSwitches Faults => _simulated.Faults;

    /// <summary>The address that the simulator listens on.</summary>
    public System.Net.IPAddress Address => _simulated.Address;

    public ModuleTwin Twin => _simulated.Twin;

    public Ledger Ledger => _simulated.Ledger;

    public RecentMessages Recent => _simulated.Recent;

    /// <summary>The events that the simulator recorded.</summary>
    public ConcurrentQueue<string> Events => _simulated.Events;

    public EdgeHubServer Hub => _simulated.Hub;

    public HubHandlerDouble Handler { get; } = new();

    public LogLines Log { get; } = new();

    /// <summary>The random numbers of the next connection.</summary>
    public Random Random { get; set; } = new(1);

    /// <summary>The module's connection; created but not started.</summary>
    public EdgeHubConnection Connection { get; private set; }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Starts the simulator, not the module's connection.</summary>
    public static async Task<HubWorld> OpenAsync(TimeProvider? moduleTime = null, TimeProvider? hubTime = null)
    {
        var simulated = await SimulatedHub.StartAsync(time: hubTime ?? moduleTime);
        var world = new HubWorld(simulated, moduleTime ?? TimeProvider.System);
        await world._workload.StartAsync(Token);
        return world;
    }

    /// <summary>Starts both, and waits until they are connected.</summary>
    public static async Task<HubWorld> ConnectAsync(TimeProvider? moduleTime = null)
    {
        var world = await OpenAsync(moduleTime);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        return world;
    }

    public EdgeIdentity WorkloadIdentity => new()
    {
        HubHostName = Identity.HubHost,
        GatewayHostName = Identity.GatewayHost,
        DeviceId = Identity.DeviceId,
        ModuleId = Identity.ModuleId,
        Workload = new(_workload.SocketPath, Identity.ModuleId, Identity.GenerationId),
        Source = "IOTEDGE_WORKLOADURI",
    };

    /// <summary>The same module with a connection string and a CA file, as from iotedgehubdev.</summary>
    public EdgeIdentity KeyIdentity
    {
        get
        {
            var file = Path.Combine(_directory.FullName, "ca.pem");
            File.WriteAllText(file, _simulated.TrustBundle);
            return WorkloadIdentity with
            {
                Workload = null,
                SharedAccessKey = Convert.FromBase64String(Key),
                Tls = new() { Roots = new(EdgeIdentityReader.CaVariable, file) },
                Source = "EdgeHubConnectionString",
            };
        }
    }

    /// <summary>Replaces the connection.</summary>
    public EdgeHubConnection Use(EdgeIdentity identity, HubOptions? options = null, Dialer? dialer = null)
    {
        Connection.Dispose();
        Used = identity;
        return Connection = NewConnection(identity, options, dialer);
    }

    public EdgeHubConnection NewConnection(EdgeIdentity? identity = null, HubOptions? options = null, Dialer? dialer = null)
    {
        identity ??= WorkloadIdentity;
        options ??= new() { Transport = HubTransport.Mqtt };
#if DEVICE_SDK
        _ = dialer;
        var connection = SensorForwarder.EdgeHub.DeviceSdk.SdkProtocol.NewConnection(identity, options, _moduleTime, Random, Log.For<EdgeHubConnection>());
#else
        var connection = new EdgeHubConnection(identity, options, _moduleTime, Random, Log.For<EdgeHubConnection>(), dialer);
#endif
        connection.Handler = Handler;
        return connection;
    }

    public Task StartAsync() => Connection.StartAsync(Token);

    /// <summary>A message whose body the ledger counts as one reading.</summary>
    public static HubMessage Message(long id, int padding = 0) => new(
        System.Text.Encoding.UTF8.GetBytes(
            $$$"""{"device":"pi1","module":"telemetry","epoch":"e1","batch":[{"id":{{{id}}},"data":{"sensor":"s","pad":"{{{new string('x', padding)}}}"}}]}"""),
        [new("$.on", "live"), new("$.mid", $"e1:{id}-{id}"), new("$.ct", "application/json"), new("$.ce", "utf-8")]);

    public Task<HubSendResult> SendAsync(long id, int padding = 0) => Connection.SendAsync(Message(id, padding), Token);

    /// <summary>Sends until the message is accepted, as the forwarder does.</summary>
    public async Task DeliverAsync(long id)
    {
        while (true)
        {
            await Connection.WaitUntilConnectedAsync(Token);
            if ((await SendAsync(id)).Status == HubSendStatus.Accepted) return;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Connection.StopAsync(CancellationToken.None);
        Connection.Dispose();
        await _simulated.DisposeAsync();
        await _workload.DisposeAsync();
        _directory.Delete(recursive: true);
        LogLine.Check(Log.All);
    }
}

/// <summary>The module behind the connection: records the events, and behaves as the test specifies.</summary>
internal sealed class HubHandlerDouble : IEdgeHubHandler
{
    int _connects;

    public int Connects => Volatile.Read(ref _connects);

    public ConcurrentQueue<(long? Version, string Patch)> Patches { get; } = [];

    public Func<CancellationToken, Task> OnConnected { get; set; } = _ => Task.CompletedTask;

    public Func<string, string, CancellationToken, Task<MethodAnswer>> OnMethod { get; set; } =
        (name, payload, _) => Task.FromResult(new MethodAnswer(200, System.Text.Encoding.UTF8.GetBytes($$"""{"name":"{{name}}","got":{{payload}}}""")));

    public Func<InputMessage, CancellationToken, Task<bool>> OnInput { get; set; } = (_, _) => Task.FromResult(true);

    public Task<bool> OnInputAsync(InputMessage message, CancellationToken cancellationToken) => OnInput(message, cancellationToken);

    public Task OnConnectedAsync(CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _connects);
        return OnConnected(cancellationToken);
    }

    public void OnDesiredPatch(long? version, ReadOnlyMemory<byte> patch) =>
        Patches.Enqueue((version, System.Text.Encoding.UTF8.GetString(patch.Span)));

    public Task<MethodAnswer> OnMethodAsync(string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken) =>
        OnMethod(name, System.Text.Encoding.UTF8.GetString(payload.Span), cancellationToken);
}
