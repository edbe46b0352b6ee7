using System.Collections.Concurrent;
using System.Net;
using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using EdgeSimulator.Metrics;
using EdgeSimulator.Twins;
using EdgeSimulator.Workload;
using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;
using Api = EdgeSimulator.Workload.WorkloadApi;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The simulator on a loopback address of its own, and the module's connection to it, by a clock of choice.</summary>
internal sealed class HubWorld : IAsyncDisposable
{
    /// <summary>The key of the reference's test vectors.</summary>
    public const string Key = "bW9kdWxla2V5bW9kdWxla2V5bW9kdWxla2V5MTIzNDU=";

    readonly GatewayAddress _address = GatewayAddress.Reserve(null);
    readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("hub-world-");
    readonly GatewayListener _listener;
    readonly Api _workload;
    readonly TimeProvider _moduleTime;

    HubWorld(TimeProvider moduleTime, TimeProvider hubTime)
    {
        _moduleTime = moduleTime;
        Certificates = new(_address.Address, hubTime);
        Identity = new ModuleIdentity
        {
            HubHost = "stubhub.azure-devices.net",
            GatewayHost = _address.HostName,
            DeviceId = "pi1",
            ModuleId = "telemetry",
            GenerationId = "637000000000000000",
            Key = Convert.FromBase64String(Key),
        };
        Ledger = new(hubTime);
        Recent = new(hubTime);
        var log = new RunLog(hubTime);
        log.Written += (_, text) => Events.Enqueue(text);
        _listener = new(_address.Address, Certificates, Faults, hubTime, log);
        var metrics = new HubMetrics(Identity);
        var upstream = new Upstream(Ledger, Recent, RoutingTable.EverythingUpstream, Faults, metrics, hubTime, log);
        Hub = new(Identity, _listener, Twin, upstream, metrics, Faults, hubTime, log);
        _workload = new(Path.Combine(_directory.FullName, "workload.sock"), Identity, Certificates.TrustBundle, Faults);
        Connection = NewConnection();
    }

    public ServerCertificates Certificates { get; }

    public IPAddress Address => _address.Address;

    public ModuleIdentity Identity { get; }

    public FaultSwitches Faults { get; } = new();

    public ModuleTwin Twin { get; } = new([]);

    public Ledger Ledger { get; }

    public RecentMessages Recent { get; }

    /// <summary>What the simulator saw.</summary>
    public ConcurrentQueue<string> Events { get; } = [];

    public EdgeHubServer Hub { get; }

    public HubHandlerDouble Handler { get; } = new();

    public LogLines Log { get; } = new();

    /// <summary>The module's; made, not started.</summary>
    public EdgeHubConnection Connection { get; private set; }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The simulator runs; the module does not yet.</summary>
    public static async Task<HubWorld> OpenAsync(TimeProvider? moduleTime = null, TimeProvider? hubTime = null)
    {
        var world = new HubWorld(moduleTime ?? TimeProvider.System, hubTime ?? moduleTime ?? TimeProvider.System);
        await world.Hub.StartAsync();
        await world._workload.StartAsync(Token);
        return world;
    }

    /// <summary>Both run, and are connected.</summary>
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

    /// <summary>The same module by a connection string and a CA file, as iotedgehubdev gives it.</summary>
    public EdgeIdentity KeyIdentity
    {
        get
        {
            var file = Path.Combine(_directory.FullName, "ca.pem");
            File.WriteAllText(file, Certificates.TrustBundle);
            return WorkloadIdentity with
            {
                Workload = null,
                SharedAccessKey = Convert.FromBase64String(Key),
                TrustedCaFile = file,
                Source = "EdgeHubConnectionString",
            };
        }
    }

    public string WriteFile(string name, string content)
    {
        var path = Path.Combine(_directory.FullName, name);
        File.WriteAllText(path, content);
        return path;
    }

    /// <summary>Another connection instead of the first one.</summary>
    public EdgeHubConnection Use(EdgeIdentity identity, HubOptions? options = null)
    {
        Connection.Dispose();
        return Connection = NewConnection(identity, options);
    }

    public EdgeHubConnection NewConnection(EdgeIdentity? identity = null, HubOptions? options = null) =>
        new(identity ?? WorkloadIdentity, options ?? new() { Transport = HubTransport.Mqtt }, _moduleTime, new Random(1), Log.For<EdgeHubConnection>())
        {
            Handler = Handler,
        };

    public Task StartAsync() => Connection.StartAsync(Token);

    /// <summary>A message whose body the ledger counts as one reading.</summary>
    public static HubMessage Message(long id, int padding = 0) => new(
        System.Text.Encoding.UTF8.GetBytes(
            $$$"""{"device":"pi1","module":"telemetry","epoch":"e1","batch":[{"id":{{{id}}},"data":{"sensor":"s","pad":"{{{new string('x', padding)}}}"}}]}"""),
        [new("$.on", "live"), new("$.mid", $"e1:{id}-{id}"), new("$.ct", "application/json"), new("$.ce", "utf-8")]);

    public Task<HubSendResult> SendAsync(long id, int padding = 0) => Connection.SendAsync(Message(id, padding), Token);

    /// <summary>Sends as the forwarder does: again until it is accepted.</summary>
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
        await Hub.StopAsync();
        Hub.Dispose();
        await _workload.DisposeAsync();
        Certificates.Dispose();
        _address.Dispose();
        _directory.Delete(recursive: true);
    }
}

/// <summary>The module behind the connection: it notes what comes, and does what the test says.</summary>
internal sealed class HubHandlerDouble : IEdgeHubHandler
{
    int _connects;

    public int Connects => Volatile.Read(ref _connects);

    public ConcurrentQueue<(long? Version, string Patch)> Patches { get; } = [];

    public Func<CancellationToken, Task> OnConnected { get; set; } = _ => Task.CompletedTask;

    public Func<string, string, CancellationToken, Task<MethodAnswer>> OnMethod { get; set; } =
        (name, payload, _) => Task.FromResult(new MethodAnswer(200, System.Text.Encoding.UTF8.GetBytes($$"""{"name":"{{name}}","got":{{payload}}}""")));

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

/// <summary>Log lines as text, to look for.</summary>
internal sealed class LogLines
{
    readonly ConcurrentQueue<string> _lines = [];

    public IEnumerable<string> All => _lines;

    public bool Has(string part) => _lines.Any(line => line.Contains(part, StringComparison.Ordinal));

    public Task Waits(string part) => Until.True(() => Has(part));

    public ILogger<T> For<T>() => new Writer<T>(_lines);

    sealed class Writer<T>(ConcurrentQueue<string> lines) : ILogger<T>
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            lines.Enqueue($"{logLevel} {eventId.Id} {formatter(state, exception)} {exception}");
    }
}
