using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
using EdgeSimulator.Hub;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>MQTT over a WebSocket on 443. The port is the real one: it needs the right to open it, as root has.</summary>
public sealed class WebSocketTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Telemetry_goes_over_a_WebSocket_when_that_is_asked_for()
    {
        await using var world = await HubWorld.OpenAsync();
        await using var door = await StartAsync(world);
        world.Use(world.WorkloadIdentity, new() { Transport = HubTransport.MqttWs });
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        var results = await Task.WhenAll(Enumerable.Range(1, 20).Select(id => world.SendAsync(id, padding: 20_000)));
        Assert.All(results, result => Assert.Equal(HubSendStatus.Accepted, result.Status));
        Assert.True(world.Log.Has("(MqttWs)"));
    }

    [Fact]
    public async Task Auto_takes_443_when_nobody_answers_on_8883()
    {
        // The hub's 8883 is on another address: the one that is dialled has only the WebSocket.
        await using var world = await HubWorld.OpenAsync();
        using var blocked = GatewayAddress.Reserve(null);
        using var certificates = new EdgeSimulator.Workload.ServerCertificates(blocked.Address, TimeProvider.System);
        await using var door = await StartAsync(world, blocked.Address, certificates.Valid);
        world.Use(
            world.KeyIdentity with { GatewayHostName = blocked.HostName, TrustedCaFile = world.WriteFile("ws.pem", certificates.TrustBundle) },
            new() { Transport = HubTransport.Auto });
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);
        Assert.True(world.Log.Has("(MqttWs)"));
    }

    [Fact]
    public async Task A_bad_certificate_is_not_taken_there_either()
    {
        await using var world = await HubWorld.OpenAsync();
        await using var door = await StartAsync(world, world.Address, world.Certificates.Untrusted);
        world.Use(world.WorkloadIdentity, new() { Transport = HubTransport.MqttWs });
        await world.StartAsync();
        await world.Log.Waits("is not trusted: ");
    }

    static Task<WebApplication> StartAsync(HubWorld world) => StartAsync(world, world.Address, world.Certificates.Valid);

    /// <summary>Takes WebSockets on 443 and passes their bytes to the simulator's 8883.</summary>
    static async Task<WebApplication> StartAsync(
        HubWorld world, IPAddress address, System.Security.Cryptography.X509Certificates.X509Certificate2 certificate)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel =>
            kestrel.Listen(address, 443, listen => listen.UseHttps(certificate).Protocols = HttpProtocols.Http1));
        var app = builder.Build();
        app.UseWebSockets();
        app.Run(context => RelayAsync(context, world.Address));
        await app.StartAsync(Token);
        return app;
    }

    static async Task RelayAsync(HttpContext context, IPAddress hub)
    {
        Assert.Equal("/$iothub/websocket", context.Request.Path);
        using var socket = await context.WebSockets.AcceptWebSocketAsync("mqtt");
        using var tcp = new TcpClient();
        await tcp.ConnectAsync(hub, GatewayAddress.Port);
        await using var tls = new SslStream(tcp.GetStream(), false, (_, certificate, _, _) => certificate is not null);
        await tls.AuthenticateAsClientAsync(hub.ToString());
        await Task.WhenAny(InAsync(socket, tls), OutAsync(socket, tls));
    }

    static async Task InAsync(WebSocket socket, SslStream tls)
    {
        var buffer = new byte[16384];
        while (true)
        {
            var received = await socket.ReceiveAsync(buffer, CancellationToken.None);
            if (received.MessageType == WebSocketMessageType.Close) return;
            await tls.WriteAsync(buffer.AsMemory(0, received.Count));
        }
    }

    static async Task OutAsync(WebSocket socket, SslStream tls)
    {
        var buffer = new byte[16384];
        while (await tls.ReadAsync(buffer) is > 0 and var count)
            await socket.SendAsync(buffer.AsMemory(0, count), WebSocketMessageType.Binary, endOfMessage: true, CancellationToken.None);
    }
}
