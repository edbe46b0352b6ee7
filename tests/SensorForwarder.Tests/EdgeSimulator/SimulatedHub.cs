using System.Net;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using EdgeSimulator.Metrics;
using EdgeSimulator.Twins;
using EdgeSimulator.Workload;
using MQTTnet;
using MQTTnet.Protocol;

namespace SensorForwarder.Tests.Simulator;

/// <summary>The simulator's hub on its own loopback address, and MQTTnet clients for it.</summary>
internal sealed class SimulatedHub : IAsyncDisposable
{
    /// <summary>The key of the test vectors.</summary>
    public const string Key = "bW9kdWxla2V5bW9kdWxla2V5bW9kdWxla2V5MTIzNDU=";

    readonly GatewayAddress _address = GatewayAddress.Reserve(null);
    readonly ServerCertificates _certificates;
    readonly GatewayListener _listener;
    readonly List<IMqttClient> _clients = [];

    SimulatedHub(RoutingTable routes, TimeProvider time, string? senderId)
    {
        _certificates = new ServerCertificates(_address.Address, time);
        Identity = new ModuleIdentity
        {
            HubHost = "stubhub.azure-devices.net",
            GatewayHost = _address.HostName,
            DeviceId = "pi1",
            ModuleId = "telemetry",
            GenerationId = "637000000000000000",
            Key = Convert.FromBase64String(Key),
        };
        Ledger = new Ledger(time);
        Recent = new RecentMessages(time);
        Log = new RunLog(time);
        Log.Written += (_, text) => Events.Enqueue(text);
        _listener = new GatewayListener(
            _address.Address, _certificates, Faults, time, Log);
        Metrics = new HubMetrics(Identity);
        Upstream = new Upstream(Ledger, Recent, routes, Faults, Metrics, time, Log);
        Sender = senderId is null ? null : Identity with { ModuleId = senderId };
        Hub = new EdgeHubServer(Identity, _listener, Twin, Upstream, Metrics, Faults, time, Log, Sender);
    }

    public IPAddress Address => _address.Address;

    public ModuleIdentity Identity { get; }

    /// <summary>Another module that may connect and send to inputs.</summary>
    public ModuleIdentity? Sender { get; }

    public FaultSwitches Faults { get; } = new();

    public ModuleTwin Twin { get; } = new([]);

    public Ledger Ledger { get; }

    public RecentMessages Recent { get; }

    public RunLog Log { get; }

    public System.Collections.Concurrent.ConcurrentQueue<string> Events { get; } = [];

    public HubMetrics Metrics { get; }

    public Upstream Upstream { get; }

    public EdgeHubServer Hub { get; }

    public string TrustBundle => _certificates.TrustBundle;

    public static async Task<SimulatedHub> StartAsync(
        RoutingTable? routes = null, TimeProvider? time = null, string? senderId = null)
    {
        var hub = new SimulatedHub(routes ?? RoutingTable.EverythingUpstream, time ?? TimeProvider.System, senderId);
        await hub.Hub.StartAsync();
        return hub;
    }

    /// <summary>A token of another module, valid for an hour.</summary>
    public string TokenOf(ModuleIdentity module) => Token(
        TimeProvider.System.GetUtcNow().AddHours(1),
        audience: WebUtility.UrlEncode($"{module.HubHost}/devices/{module.DeviceId}/modules/{module.ModuleId}"));

    public string Token(DateTimeOffset expiry, string? key = null, string? audience = null)
    {
        audience ??= WebUtility.UrlEncode($"{Identity.HubHost}/devices/{Identity.DeviceId}/modules/{Identity.ModuleId}");
        var signed = $"{audience}\n{expiry.ToUnixTimeSeconds()}";
        var signature = SasToken.Sign(Convert.FromBase64String(key ?? Key), Encoding.UTF8.GetBytes(signed));
        return $"SharedAccessSignature sr={audience}&sig={WebUtility.UrlEncode(signature)}&se={expiry.ToUnixTimeSeconds()}";
    }

    public MqttClientOptions Options(Action<MqttClientOptionsBuilder>? change = null)
    {
        var roots = new X509Certificate2Collection();
        roots.ImportFromPem(TrustBundle);
        var builder = new MqttClientOptionsBuilder()
            .WithProtocolVersion(MQTTnet.Formatter.MqttProtocolVersion.V311)
            .WithTcpServer(Identity.GatewayHost, GatewayAddress.Port)
            .WithTlsOptions(tls => tls.UseTls().WithTrustChain(roots).WithRevocationMode(X509RevocationMode.NoCheck))
            .WithClientId(Identity.ClientId)
            .WithCleanSession(false)
            .WithCredentials(
                $"{Identity.GatewayHost}/{Identity.DeviceId}/{Identity.ModuleId}/?api-version=2020-09-30&DeviceClientType=test",
                Token(TimeProvider.System.GetUtcNow().AddHours(1)));
        change?.Invoke(builder);
        return builder.Build();
    }

    public IMqttClient NewClient()
    {
        var client = new MqttClientFactory().CreateMqttClient();
        _clients.Add(client);
        return client;
    }

    public async Task<IMqttClient> ConnectAsync()
    {
        var client = NewClient();
        await client.ConnectAsync(Options(), TestContext.Current.CancellationToken);
        return client;
    }

    public static MqttApplicationMessage Telemetry(string body, string bag = "%24.ct=application%2Fjson&%24.ce=utf-8/") =>
        new MqttApplicationMessageBuilder()
            .WithTopic($"devices/pi1/modules/telemetry/messages/events/{bag}")
            .WithPayload(body)
            .WithQualityOfServiceLevel(MqttQualityOfServiceLevel.AtLeastOnce)
            .Build();

    public static string Batch(long first, long last, string epoch = "e1")
    {
        var readings = Enumerable.Range(0, (int)(last - first + 1))
            .Select(offset => $"{{\"id\":{first + offset},\"data\":{{\"sensor\":\"s\",\"kind\":\"simulated\"}}}}");
        return $"{{\"device\":\"pi1\",\"module\":\"telemetry\",\"epoch\":\"{epoch}\",\"batch\":[{string.Join(',', readings)}]}}";
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var client in _clients)
        {
            client.Dispose();
        }

        await Hub.StopAsync();
        Hub.Dispose();
        Upstream.Dispose();
        _certificates.Dispose();
        _address.Dispose();
    }
}
