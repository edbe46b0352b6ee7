using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Status;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Kernel;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

public sealed class HealthTests
{
    const string ToSink = """{"sink":"http","httpEndpoint":"http://localhost/","batchSize":1,"uploadIntervalSeconds":0,"commitIntervalMs":0,"sensors":{}}""";

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static string? Fault(HealthReport report, string check) =>
        (string?)JsonNode.Parse(report.ToJson())!["checks"]![check]!["reason"];

    static Health NewHealth(SettingsFixture parts, TimeProvider clock) => new OperationParts(parts, clock).Health;

    [Fact]
    public async Task The_module_is_live_while_its_loops_run_and_a_stopped_loop_is_named()
    {
        await using var parts = await new SettingsFixture().StartAsync(ToSink);
        var clock = new ObservedClock(DateTimeOffset.UnixEpoch);
        using var health = NewHealth(parts, clock);
        await parts.Forwarder.StartAsync(Token);
        await health.StartAsync(Token);
        await clock.UntilTimerAsync(clock.GetUtcNow() + TimeSpan.FromSeconds(5));
        for (var i = 0; i < 30; i++)
        {
            var (writer, forwarder) = (parts.Buffer.Turns, parts.Forwarder.Turns);
            clock.Advance(TimeSpan.FromSeconds(5));
            await Until.True(() => parts.Buffer.Turns > writer && parts.Forwarder.Turns > forwarder);
            Assert.True(health.Live().IsOk);
        }

        await parts.Forwarder.StopAsync(Token);
        for (var i = 0; i < 40; i++)
        {
            // The other loop takes its turn before the clock advances.
            var writer = parts.Buffer.Turns;
            clock.Advance(TimeSpan.FromSeconds(5));
            await Until.True(() => parts.Buffer.Turns > writer);
        }

        Assert.Contains("the forwarder's loop has not run", Fault(health.Live(), "forwarder"), StringComparison.Ordinal);
        Assert.Null(Fault(health.Live(), "buffer"));
        await health.StopAsync(Token);
    }

    [Fact]
    public async Task A_sensor_that_waits_for_its_interval_is_healthy_and_one_with_a_hanging_loop_is_named()
    {
        var clock = new FakeTimeProvider();
        using var files = new BufferFixture();
        await using var buffer = await files.OpenAsync();
        using var scheduler = new SensorScheduler(new(new("/proc", "/sys", files.Directory), clock), buffer, clock, new Random(1), new HangingLogger(out var letGo));
        var sensors = new Dictionary<string, SensorSettings> { ["attic"] = new("attic", SimulatedSensor.Kind, TimeSpan.FromHours(1), "{}") };
        await scheduler.ApplyAsync(sensors, Token);
        await PassUntilAsync(() => scheduler.Health[0].Readings >= 1, TimeSpan.FromSeconds(1));
        clock.Advance(TimeSpan.FromMinutes(50));
        await Until.True(() => scheduler.FindStuck(Health.TurnPatience) is null);

        sensors["gone"] = new("gone", FileSensor.Kind, TimeSpan.FromHours(1), $$"""{"path":"{{files.Directory}}/none"}""");
        await scheduler.ApplyAsync(sensors, Token);
        await PassUntilAsync(() => scheduler.FindStuck(Health.TurnPatience) == "gone", TimeSpan.FromSeconds(5));
        letGo.SetResult();
        await PassUntilAsync(() => scheduler.FindStuck(Health.TurnPatience) is null, TimeSpan.Zero);
        await scheduler.StopAsync(Token);

        // The fake clock runs timers on the thread that advances it, and one of them blocks.
        Task PassUntilAsync(Func<bool> condition, TimeSpan step) => Until.True(() =>
        {
            _ = Task.Run(() => clock.Advance(step), Token);
            return condition();
        });
    }

    [Fact]
    public async Task The_module_is_not_ready_when_readings_are_overdue_or_forwarding_is_paused()
    {
        var sink = new FakeSink { Rule = _ => SendResult.Accepted };
        await using var parts = new SettingsFixture { Sinks = { [SinkKind.Http] = sink } };
        await parts.StartAsync(ToSink);
        var clock = new FakeTimeProvider(TimeProvider.System.GetUtcNow());
        using var health = NewHealth(parts, clock);
        Assert.True(health.Ready().IsOk);
        await parts.Buffer.EnqueueAsync(BufferFixture.Reading(1) with { Time = TimeProvider.System.GetUtcNow() }, Token);
        Assert.True(health.Ready().IsOk); // waiting, but not overdue

        await parts.Buffer.EnqueueAsync(BufferFixture.Reading(2) with { Time = TimeProvider.System.GetUtcNow() - TimeSpan.FromHours(1) }, Token);
        await Task.WhenAll(parts.Buffer.AcknowledgeAsync(1, 1, Token), parts.Buffer.CommitAsync(Token));
        Assert.Contains("nothing was accepted since the start", Fault(health.Ready(), "sink"), StringComparison.Ordinal);
        parts.Forwarder.Pause();
        Assert.Equal("forwarding is paused", Fault(health.Ready(), "sink"));
        parts.Forwarder.Resume();

        await parts.Forwarder.StartAsync(Token);
        // Without the random wait after an outage.
        Assert.True(await parts.Forwarder.FlushAsync(Until.Limit, Token));
        await Until.True(() => parts.Forwarder.Status.Readings == 1 && parts.Buffer.GetStatus().Depth == 0);
        Assert.True(health.Ready().IsOk);
        await parts.Forwarder.StopAsync(Token);
    }

    /// <summary>A log that blocks at a warning until it is released, so a loop that writes one is stuck.</summary>
    sealed class HangingLogger : ILogger<SensorScheduler>
    {
        readonly TaskCompletionSource _letGo = new();

        public HangingLogger(out TaskCompletionSource letGo) => letGo = _letGo;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            // At most a minute, so that a failing test ends.
            if (logLevel >= LogLevel.Warning) _letGo.Task.Wait(TimeSpan.FromMinutes(1));
        }
    }
}
