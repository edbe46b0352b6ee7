using Microsoft.Extensions.Time.Testing;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

public sealed class SoakTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Ten_hours_of_renewals_cuts_twin_requests_and_methods_leak_nothing()
    {
        var clock = new ObservedClock(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.OpenAsync(clock, TimeProvider.System);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        var id = 0L;
        var timersEarly = 0;
        for (var minute = 0; minute < 600; minute++)
        {
            clock.Advance(TimeSpan.FromMinutes(1));
            await Until.True(() => world.Connection.Status.State == HubState.Connected, clock, TimeSpan.FromMilliseconds(100));
            await world.DeliverAsync(++id);
            if (minute % 10 == 0)
            {
                await world.Connection.GetTwinAsync(Token);
                await world.Connection.PatchReportedAsync("""{"n":1}"""u8.ToArray(), Token);
                await world.Hub.Methods.InvokeAsync("ping", null, TimeSpan.FromSeconds(60), Token);
            }

            if (minute % 25 == 24)
            {
                var connects = world.Handler.Connects;
                world.Hub.Cut("soak");
                await Until.True(() => world.Handler.Connects > connects, clock, TimeSpan.FromSeconds(1));
            }

            if (minute == 120) timersEarly = clock.Timers;
        }

        // Connections are cut more often than tokens are renewed, so most of them end by a cut.
        Assert.Equal(600, world.Ledger.Summary().Unique);
        Assert.True(world.Handler.Connects >= 24);
        await Until.True(() => world.Connection.OpenRequests == 0);
        await Until.True(() => clock.Timers <= timersEarly + 5);
    }

    [Fact]
    public async Task Twelve_token_renewals_on_a_stable_connection_do_not_change_its_status()
    {
        var clock = new ObservedClock(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.OpenAsync(clock);
        await world.StartAsync();
        await world.Connection.WaitUntilConnectedAsync(Token);
        var status = world.Connection.Status;
        for (var renewal = 1; renewal <= 12; renewal++)
        {
            clock.Advance(TimeSpan.FromMinutes(48.1));
            await Until.True(() => world.Connection.Counters.Renewals == renewal, clock, TimeSpan.FromSeconds(1));
            Assert.Equal(HubSendStatus.Accepted, (await world.SendAsync(renewal)).Status);
        }

        Assert.Same(status, world.Connection.Status);
        Assert.DoesNotContain(world.Events, text => text.Contains("expired", StringComparison.Ordinal));
    }
}
