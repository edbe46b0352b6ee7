using System.Net;
using System.Net.Sockets;
using EdgeSimulator.Hub;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Net;

/// <summary>The messages for failed TLS handshakes.</summary>
public sealed class TlsTextTests
{
    static readonly Batch Batch = new BatchEncoder("pi", "module").Encode(
        [new(5, BufferFixture.Noon, "{\"sensor\":\"a\"}"u8.ToArray())], int.MaxValue);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static async Task<string> SendAsync(Uri url, Certificates roots)
    {
        using var sink = new HttpSink(
            new(null, new Dictionary<string, string>()) { Tls = roots.Files() }, TimeProvider.System);
        return (await sink.SendAsync(Batch, new() { HttpEndpoint = url }, Token)).Reason;
    }

    [Fact]
    public async Task When_a_certificate_is_not_valid_now_the_error_shows_the_time_of_the_clock()
    {
        using var roots = new Certificates();
        using var expired = roots.Issue(isExpired: true);
        await using var receiver = await Receiver.StartAsync(_ => Task.CompletedTask, expired);
        var reason = await SendAsync(receiver.Url, roots);
        Assert.StartsWith("TLS: ", reason, StringComparison.Ordinal);
        Assert.Contains("NotTimeValid. This machine's clock says 20", reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task HTTPS_to_an_HTTP_port_is_reported_as_a_port_that_does_not_speak_TLS()
    {
        using var roots = new Certificates();
        await using var receiver = await Receiver.StartAsync(_ => Task.CompletedTask);
        var reason = await SendAsync(new UriBuilder(receiver.Url) { Scheme = "https" }.Uri, roots);
        Assert.Contains("does not speak TLS", reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_port_that_closes_the_connection_is_reported_as_closed_during_the_TLS_handshake()
    {
        await using var world = await HubWorld.OpenAsync();
        using var listener = new TcpListener(IPAddress.Parse("127.9.9.103"), GatewayAddress.Port);
        listener.Start();

        // An MQTT broker without TLS also closes when the first packet is not a CONNECT.
        var serving = Task.Run(
            async () =>
            {
                for (var i = 0; i < 2; i++)
                {
                    using var client = await listener.AcceptTcpClientAsync(Token);
                    _ = await client.GetStream().ReadAsync(new byte[4096], Token);
                }
            },
            Token);
        using var roots = new Certificates();
        var reason = await SendAsync(new("https://127.9.9.103:8883/"), roots);
        Assert.Contains("during the TLS handshake", reason, StringComparison.Ordinal);
        world.Use(
            world.WorkloadIdentity with { GatewayHostName = "127.9.9.103" }, new() { Transport = HubTransport.Mqtt });
        await world.StartAsync();
        await world.Log.Waits("127.9.9.103:8883: the connection was closed during the TLS handshake");
        await serving;
    }
}
