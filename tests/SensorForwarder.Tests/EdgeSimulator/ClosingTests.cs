using EdgeSimulator.Runs;
using Microsoft.Extensions.Time.Testing;
using MQTTnet;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Simulator;

public sealed class ClosingTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Run_is_complete_when_every_committed_reading_has_arrived()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var module = new FakeModule(hub, committed: 50, sent: 20);
        await module.ConnectAsync();
        await module.SendAsync(1, 20);
        var closing = new Closing(hub.Hub, hub.Ledger, hasModule: true, TimeProvider.System, hub.Log);

        Assert.Null(await closing.DrainAsync(Token));

        Assert.Equal(1, module.Flushes);
        Assert.Equal("complete", closing.Judge(exitCode: 0).ExitReason);
        Assert.Equal(50, hub.Ledger.Summary().Unique);
    }

    [Fact]
    public async Task Closing_waits_until_the_module_is_connected()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var module = new FakeModule(hub, committed: 5, sent: 0);
        var draining = new Closing(hub.Hub, hub.Ledger, hasModule: true, TimeProvider.System, hub.Log).DrainAsync(Token);

        await module.ConnectAsync();

        Assert.Null(await draining);
    }

    [Theory]
    [InlineData(3, "moduleExited")]
    [InlineData(null, "moduleExited")]
    [InlineData(0, "complete")]
    public async Task Exit_code_of_the_module_decides_whether_the_run_is_complete(int? exitCode, string reason)
    {
        await using var hub = await SimulatedHub.StartAsync();
        var module = new FakeModule(hub, committed: 5, sent: 0);
        await module.ConnectAsync();
        var closing = new Closing(hub.Hub, hub.Ledger, hasModule: true, TimeProvider.System, hub.Log);
        await closing.DrainAsync(Token);

        Assert.Equal(reason, closing.Judge(exitCode).ExitReason);
    }

    [Fact]
    public async Task Message_that_violates_the_schemas_makes_the_run_fail()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var module = new FakeModule(hub, committed: 5, sent: 0);
        await module.ConnectAsync();
        var check = new EdgeSimulator.Accounting.MessageCheck(hub.Log);
        var closing = new Closing(hub.Hub, hub.Ledger, hasModule: true, TimeProvider.System, hub.Log, check);
        await closing.DrainAsync(Token);
        Assert.Equal("complete", closing.Judge(exitCode: 0).ExitReason);

        check.Check("""{"device":"d","module":"m","epoch":"e1","batch":[]}"""u8.ToArray(), "output 'live' of m");

        var outcome = closing.Judge(exitCode: 0);
        Assert.Equal("schemaViolated", outcome.ExitReason);
        Assert.StartsWith("1 messages violate docs/schemas, the first one: output 'live' of m: /", outcome.Verdict, StringComparison.Ordinal);
        Assert.Equal([outcome.Verdict[outcome.Verdict.IndexOf("output", StringComparison.Ordinal)..]], check.Shown);
    }

    [Fact]
    public async Task Missing_reading_of_an_older_epoch_counts_as_lost()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var module = new FakeModule(hub, committed: 5, sent: 0);
        await module.ConnectAsync();
        foreach (var id in (long[])[2, 4])
        {
            hub.Ledger.Record(System.Text.Encoding.UTF8.GetBytes(SimulatedHub.Batch(id, id, epoch: "older")), out _);
        }

        var time = new FakeTimeProvider();
        var closing = new Closing(hub.Hub, hub.Ledger, hasModule: true, time, hub.Log);

        // The missing reading might still arrive, so the drain waits until its deadline.
        var drained = closing.DrainAsync(Token);
        await Until.True(() => drained.IsCompleted, time, TimeSpan.FromSeconds(1));
        Assert.Null(await drained);

        Assert.Equal("lost", closing.Judge(exitCode: 0).ExitReason);
        Assert.Equal(1, hub.Ledger.Summary().Lost);
    }

    [Fact]
    public async Task Run_without_any_reading_fails()
    {
        await using var hub = await SimulatedHub.StartAsync();
        var module = new FakeModule(hub, committed: 0, sent: 0);
        await module.ConnectAsync();
        var closing = new Closing(hub.Hub, hub.Ledger, hasModule: true, TimeProvider.System, hub.Log);

        Assert.Null(await closing.DrainAsync(Token));

        Assert.Equal("nothingArrived", closing.Judge(exitCode: 0).ExitReason);
    }

    [Fact]
    public async Task Closing_ends_at_once_if_no_module_ever_connected()
    {
        await using var hub = await SimulatedHub.StartAsync();

        var outcome = await new Closing(hub.Hub, hub.Ledger, hasModule: false, TimeProvider.System, hub.Log).DrainAsync(Token);

        Assert.Equal("moduleNotReachable", outcome?.ExitReason);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Closing_does_not_wait_for_a_manually_started_module_that_has_disconnected(bool leavesDuringTheClosing)
    {
        await using var hub = await SimulatedHub.StartAsync();
        var client = await hub.ConnectAsync();
        await Until.True(() => hub.Hub.HasBeenConnected);
        var clock = new FakeTimeProvider();
        var closing = new Closing(hub.Hub, hub.Ledger, hasModule: false, clock, hub.Log);
        var draining = leavesDuringTheClosing ? closing.DrainAsync(Token) : null;
        await client.DisconnectAsync(new MqttClientDisconnectOptions(), Token);
        await Until.True(() => hub.Hub.HasLeft);

        draining ??= closing.DrainAsync(Token);
        await Until.True(() => draining.IsCompleted, clock, TimeSpan.FromSeconds(0.1));

        var outcome = await draining;
        Assert.Equal("moduleNotReachable", outcome?.ExitReason);
        Assert.Contains("has disconnected", outcome?.Verdict, StringComparison.Ordinal);
    }
}
