using EdgeSimulator.Faults;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>MQTT over a WebSocket on port 443. Opening the port needs privileges, for example root.</summary>
public sealed class WebSocketTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    static async Task<HubWorld> OpenAsync(HubTransport transport, TimeProvider? clock = null)
    {
        var world = await HubWorld.OpenAsync(clock, TimeProvider.System);
        if (world.Events.FirstOrDefault(text => text.Contains("no MQTT over WebSocket", StringComparison.Ordinal)) is { } problem)
        {
            await world.DisposeAsync();
            Assert.Skip(problem);
        }

        world.Use(world.WorkloadIdentity, new() { Transport = transport });
        return world;
    }

    [Fact]
    public async Task Telemetry_twin_and_methods_use_a_WebSocket_when_it_is_configured()
    {
        await using var world = await OpenAsync(HubTransport.MqttWs);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        var results = await Task.WhenAll(Enumerable.Range(1, 20).Select(id => world.SendAsync(id, padding: 20_000)));
        Assert.All(results, result => Assert.Equal(HubSendStatus.Accepted, result.Status));
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(21, padding: 261_000)).Status);
        Assert.Equal(200, (await world.Connection.GetTwinAsync(Token)).Status);
        Assert.Equal(200, (await world.Hub.Methods.InvokeAsync("ping", null, TimeSpan.FromSeconds(60), Token)).Status);
        Assert.Equal(21, world.Ledger.Summary().Unique);
        Assert.True(world.Log.Has("(MqttWs)"));
    }

    [Fact]
    public async Task Auto_changes_to_port_443_when_8883_is_blocked_and_stays_with_it()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var world = await OpenAsync(HubTransport.Auto, clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.True(world.Log.Has("(Mqtt)"));

        // Only the transport that worked is tried, until it has failed too often.
        world.Faults.Update(faults => faults with { MqttPortBlocked = true });
        await Until.True(() => world.Log.Has("(MqttWs)"), clock, TimeSpan.FromSeconds(1));
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);

        world.Faults.Update(_ => new());
        world.Hub.Cut("test");
        await Until.True(() => world.Handler.Connects >= 3, clock, TimeSpan.FromSeconds(1));
        await Until.True(() => world.Log.All.Count(line => line.Contains("(MqttWs)", StringComparison.Ordinal)) == 2);
    }

    [Fact]
    public async Task Auto_connects_at_the_first_attempt_when_8883_is_blocked_from_the_start()
    {
        await using var world = await OpenAsync(HubTransport.Auto);
        world.Faults.Update(faults => faults with { MqttPortBlocked = true });
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.True(world.Log.Has("(MqttWs)"));
        Assert.DoesNotContain(world.Log.All, line => line.Contains("No connection", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(nameof(CertificateFault.Expired), "expired at ")]
    [InlineData(nameof(CertificateFault.OtherHost), "is issued to 'other.example', not to ")]
    [InlineData(nameof(CertificateFault.Untrusted), "is not trusted: ")]
    public async Task A_bad_server_certificate_is_rejected_over_a_WebSocket(string fault, string line)
    {
        await using var world = await OpenAsync(HubTransport.MqttWs);
        world.Faults.Update(faults => faults with { Certificate = Enum.Parse<CertificateFault>(fault) });
        await world.StartAsync();
        await world.Log.Waits(line);
    }

    [Fact]
    public async Task A_token_is_renewed_and_a_blackout_is_survived_over_a_WebSocket()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var world = await OpenAsync(HubTransport.MqttWs, clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        clock.Advance(TimeSpan.FromMinutes(49));
        await Until.True(() => world.Connection.Counters.Renewals >= 1, clock, TimeSpan.FromSeconds(1));
        await world.Connection.WaitUntilConnectedAsync(Token);
        Assert.Equal(0, world.Connection.Status.Reconnects);

        world.Faults.Update(faults => faults with { Blackout = true });
        await Until.True(() => world.Log.Has("Connection refused"), clock, TimeSpan.FromSeconds(1));
        world.Faults.Update(_ => new());
        var connected = world.Connection.WaitUntilConnectedAsync(Token);
        await Until.True(() => connected.IsCompleted, clock, TimeSpan.FromSeconds(1));
        Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(1)).Status);
    }

    [Fact]
    public async Task A_silent_connection_is_closed_over_a_WebSocket()
    {
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        await using var world = await OpenAsync(HubTransport.MqttWs, clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        world.Faults.Update(faults => faults with { HalfOpen = true });
        var sending = world.SendAsync(7);
        await Until.True(() => sending.IsCompleted, clock, TimeSpan.FromSeconds(5));
        Assert.Equal(HubSendStatus.Retry, (await sending).Status);
        Assert.Equal(1, world.Connection.Counters.TimedOut);
    }
}
