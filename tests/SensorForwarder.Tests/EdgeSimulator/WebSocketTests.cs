using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using EdgeSimulator.Hub;
using MQTTnet;

namespace SensorForwarder.Tests.Simulator;

/// <summary>MQTT over WebSocket on port 443. Other requests are refused with a reason.</summary>
public sealed class WebSocketTests
{
    const string Request =
        "GET /$iothub/websocket?iothub-no-client-cert=true HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: other, mqtt\r\n\r\n";

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Handshake_is_answered_according_to_RFC_6455()
    {
        // Key and expected response are from RFC 6455, section 1.3.
        var answer = await AskAsync(Request);

        Assert.StartsWith("HTTP/1.1 101 ", answer, StringComparison.Ordinal);
        Assert.Contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", answer, StringComparison.Ordinal);
        Assert.Contains("Sec-WebSocket-Protocol: mqtt\r\n", answer, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/$iothub/websocket", "/mqtt", "expected GET /$iothub/websocket")]
    [InlineData("GET", "POST", "expected GET /$iothub/websocket")]
    [InlineData("other, mqtt", "amqp", "expected subprotocol 'mqtt', not 'amqp'")]
    [InlineData("Version: 13", "Version: 8", "version 13")]
    [InlineData("sec-websocket-key", "x", "no Sec-WebSocket-Key")]
    public async Task Other_requests_are_refused_with_the_reason(string part, string instead, string words)
    {
        var answer = await AskAsync(Request.Replace(part, instead, StringComparison.Ordinal));

        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.Contains(words, answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Large_message_is_accepted_over_a_WebSocket()
    {
        await using var hub = await OpenAsync();
        var client = hub.NewClient();
        await client.ConnectAsync(
            hub.Options(builder => builder.WithWebSocketServer(webSocket => webSocket
                .WithUri($"wss://{hub.Identity.GatewayHost}/$iothub/websocket").WithSubProtocols(["mqtt"]))),
            Token);

        await client.PublishAsync(SimulatedHub.Telemetry(SimulatedHub.Batch(1, 4000)), Token);

        Assert.Equal(4000, hub.Ledger.Summary().Unique);
    }

    static async Task<SimulatedHub> OpenAsync()
    {
        var hub = await SimulatedHub.StartAsync();
        if (hub.Events.FirstOrDefault(text => text.Contains("no MQTT over WebSocket", StringComparison.Ordinal)) is { } problem)
        {
            await hub.DisposeAsync();
            Assert.Skip(problem);
        }

        return hub;
    }

    static async Task<string> AskAsync(string request)
    {
        await using var hub = await OpenAsync();
        using var tcp = new TcpClient();
        await tcp.ConnectAsync(hub.Identity.GatewayHost, GatewayAddress.WebSocketPort, Token);
        await using var tls = new SslStream(tcp.GetStream(), false, (_, certificate, _, _) => certificate is not null);
        await tls.AuthenticateAsClientAsync(hub.Identity.GatewayHost);
        await tls.WriteAsync(Encoding.ASCII.GetBytes(request), Token);
        var answer = new byte[4096];
        return Encoding.ASCII.GetString(answer, 0, await tls.ReadAsync(answer, Token));
    }
}
