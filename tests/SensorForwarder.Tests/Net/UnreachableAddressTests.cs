using System.Net;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Configuration;
using OpenTelemetry.Exporter;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Net;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Metrics;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.EdgeHub;
using SensorForwarder.Tests.Operations;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Net;

/// <summary>A name whose first address drops all packets, as with broken IPv6: each kind of connection of the module
/// succeeds with the second address. Only the resolver is a fake.</summary>
public sealed class UnreachableAddressTests
{
    const string Page = """
        edgehub_messages_sent_total{iothub="h",to="upstream",instance_number="1"} 42
        edgehub_queue_length{iothub="h",endpoint="iothub",priority="0",instance_number="1"} 7
        """;

    static readonly Batch Batch = new BatchEncoder("pi", "module").Encode(
        [new(5, BufferFixture.Noon, "{\"sensor\":\"a\"}"u8.ToArray())], int.MaxValue);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static Dialer NewDialer(BlackHole first, IPAddress? second = null) =>
        new(TimeProvider.System, (_, _) => Task.FromResult<IPAddress[]>([first.Address, second ?? IPAddress.Loopback]));

    static Dialer NewDialer(params string[] addresses) =>
        new(TimeProvider.System, (_, _) => Task.FromResult<IPAddress[]>([.. addresses.Select(IPAddress.Parse)]));

    static Uri Renamed(Uri url) => new UriBuilder(url) { Host = "receiver.test" }.Uri;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Readings_reach_the_HTTP_receiver_when_its_first_address_is_unreachable(bool isTls)
    {
        using var roots = new Certificates();
        using var certificate = roots.Issue("receiver.test");
        await using var receiver = await Receiver.StartAsync(_ => Task.CompletedTask, isTls ? certificate : null);
        using var hole = new BlackHole(receiver.Url.Port);
        using var sink = new HttpSink(
            new(null, new Dictionary<string, string>()) { Tls = roots.Files() },
            TimeProvider.System,
            NewDialer(hole));
        var result = await sink.SendAsync(Batch, new() { HttpEndpoint = Renamed(receiver.Url) }, Token);
        Assert.Equal(SendResult.Accepted, result);
    }

    [Fact]
    public async Task The_error_for_an_unreachable_receiver_names_its_addresses()
    {
        var port = FreePort.Find();
        using var sink = new HttpSink(
            new(null, new Dictionary<string, string>()), TimeProvider.System, NewDialer("127.0.0.2", "127.0.0.1"));
        var result = await sink.SendAsync(Batch, new() { HttpEndpoint = new($"http://receiver.test:{port}/") }, Token);
        const string Reason = "127.0.0.2: Connection refused; 127.0.0.1: Connection refused";
        Assert.Equal(new SendResult(SendOutcome.Retry, Reason) { NotSent = true }, result);
    }

    [Fact]
    public async Task The_error_for_an_unresolved_receiver_names_its_host()
    {
        var failure = new IOException("the server does not answer");
        using var sink = new HttpSink(
            new(null, new Dictionary<string, string>()),
            TimeProvider.System,
            new(TimeProvider.System, (_, _) => Task.FromException<IPAddress[]>(failure)));
        var result = await sink.SendAsync(Batch, new() { HttpEndpoint = new("http://receiver.test/") }, Token);
        const string Reason = "the name receiver.test could not be resolved (the server does not answer)";
        Assert.Equal(new SendResult(SendOutcome.Retry, Reason) { NotSent = true }, result);
    }

    [Theory]
    [InlineData(nameof(HubTransport.Mqtt))]
    [InlineData(nameof(HubTransport.MqttWs))]
    public async Task Readings_reach_the_hub_when_its_first_address_is_unreachable(string transport)
    {
        await using var world = await HubWorld.OpenAsync();
        using var hole = new BlackHole(transport == nameof(HubTransport.Mqtt) ? 8883 : 443);
        world.Use(
            world.WorkloadIdentity with { GatewayHostName = "localhost" },
            new() { Transport = Enum.Parse<HubTransport>(transport) },
            NewDialer(hole, world.Address));
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);
        Assert.True(world.Log.Has($"({transport})"));
        Assert.False(world.Log.Has("No connection"));
    }

    [Fact]
    public async Task The_log_line_for_an_unreachable_hub_names_its_addresses()
    {
        await using var world = await HubWorld.OpenAsync();
        world.Use(
            world.WorkloadIdentity with { GatewayHostName = "localhost" },
            new() { Transport = HubTransport.Auto },
            NewDialer("127.9.9.101", "127.9.9.102"));
        await world.StartAsync();
        const string Tried = "127.9.9.101: Connection refused; 127.9.9.102: Connection refused";
        await world.Log.Waits($"No connection to localhost: localhost:8883: {Tried}; localhost:443: {Tried}.");
    }

    [Fact]
    public async Task The_metrics_page_of_edgeHub_is_read_when_its_first_address_is_unreachable()
    {
        await using var page = await Receiver.StartAsync(context => context.Response.WriteAsync(Page));
        using var hole = new BlackHole(page.Url.Port);
        using var reader = new MetricsPageReader(Renamed(page.Url), "d/m", TimeProvider.System, NewDialer(hole));
        Assert.Equal(7, (await reader.ReadAsync(Token))?.Queue);
    }

    [Theory]
    [InlineData(nameof(OtlpExportProtocol.Grpc))]
    [InlineData(nameof(OtlpExportProtocol.HttpProtobuf))]
    public async Task Metrics_reach_the_collector_when_its_first_address_is_unreachable(string protocol)
    {
        var pushed = new TaskCompletionSource();
        var isGrpc = protocol == nameof(OtlpExportProtocol.Grpc);
        await using var collector = await Receiver.StartAsync(
            async context =>
            {
                pushed.TrySetResult();
                if (!isGrpc) return;
                context.Response.ContentType = "application/grpc";
                context.Response.AppendTrailer("grpc-status", "0");
                await context.Response.Body.WriteAsync(new byte[5], Token);
            },
            protocols: isGrpc ? HttpProtocols.Http2 : HttpProtocols.Http1);
        using var hole = new BlackHole(collector.Url.Port);
        await using var parts = await new SettingsFixture().StartAsync();
        using var operations = new OperationParts(parts, TimeProvider.System);
        using var metrics = operations.NewMetrics(BootOptions.Read(new ConfigurationBuilder().Build()));
        var options = new OtlpOptions(Renamed(collector.Url), Enum.Parse<OtlpExportProtocol>(protocol))
        {
            Headers = new Dictionary<string, string>(),
            Interval = TimeSpan.FromMilliseconds(100),
            ResourceAttributes = new Dictionary<string, string>(),
            Timeout = TimeSpan.FromSeconds(10),
        };
        var log = new LogLines();
        using var export = new OtlpExport(
            options, metrics, NewDialer(hole), TimeProvider.System, log.For<OtlpExport>());
        await export.StartAsync(Token);
        await pushed.Task.WaitAsync(Until.Limit, TimeProvider.System, Token);
        await export.StopAsync(Token);
        Assert.False(log.Has("could not be pushed"));
    }
}
