using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

public sealed class SensorLoopTests : IAsyncLifetime
{
    // Small, since the retries of a reading wait on the same clock and may take up to ten seconds of it.
    static readonly TimeSpan Step = TimeSpan.FromMilliseconds(50);

    readonly SensorFixture _world = new();
    readonly BufferFixture _files = new();
    TelemetryBuffer _buffer = null!;
    SensorScheduler _scheduler = null!;

    public async ValueTask InitializeAsync()
    {
        _buffer = await _files.OpenAsync();
        _scheduler = new(_world.World, _buffer, _world.Clock, new NoJitter(), NullLogger<SensorScheduler>.Instance);
    }

    public async ValueTask DisposeAsync()
    {
        await _scheduler.StopAsync(CancellationToken.None);
        _scheduler.Dispose();
        await _buffer.DisposeAsync();
        _files.Dispose();
        _world.Dispose();
    }

    static SensorSettings Simulated(string name, double seconds) =>
        new(name, SimulatedSensor.Kind, TimeSpan.FromSeconds(seconds), """{"kind":"simulated"}""");

    static SensorSettings Host => new("host", HostSensor.Kind, TimeSpan.FromSeconds(1), """{"kind":"host"}""");

    Task ApplyAsync(params SensorSettings[] sensors) =>
        _scheduler.ApplyAsync(sensors.ToDictionary(sensor => sensor.Name), TestContext.Current.CancellationToken);

    List<JsonElement> Stored() => [.. BufferFixture.ReadAll(_buffer).Select(row => JsonDocument.Parse(row.Payload).RootElement)];

    SensorHealth Health(string name) => _scheduler.Health.Single(sensor => sensor.Name == name);

    [Fact]
    public async Task Readings_are_taken_at_multiples_of_the_interval_without_drift()
    {
        await ApplyAsync(Simulated("attic", 10));
        await Until.True(() => Health("attic").Readings == 1);
        for (var turn = 2; turn <= 20; turn++)
        {
            await _world.Clock.UntilTimerAsync(_world.Clock.GetUtcNow().AddSeconds(10));
            _world.Clock.Advance(TimeSpan.FromSeconds(10));
            await Until.True(() => Health("attic").Readings == turn);
        }

        await Until.True(() => _buffer.GetStatus().Depth == 20);
        var times = Stored().Select(data => data.GetProperty("time").GetDateTimeOffset()).ToList();
        Assert.All(times.Zip(times.Skip(1)), pair => Assert.Equal(TimeSpan.FromSeconds(10), pair.Second - pair.First));
        Assert.Equal(0, Health("attic").Missed);
    }

    [Fact]
    public async Task Sensors_with_the_same_interval_are_read_together_whenever_they_were_started()
    {
        await ApplyAsync(Simulated("attic", 1), Simulated("meter", 0.1));
        await Until.True(() => Health("attic").Readings == 1);
        _world.Clock.Advance(TimeSpan.FromMilliseconds(930));
        await ApplyAsync(Simulated("attic", 1), Simulated("meter", 0.1), Simulated("cellar", 1), Simulated("roof", 10), Simulated("gate", 0.1));
        _world.Clock.Advance(TimeSpan.FromMilliseconds(70));
        await Until.True(() => _scheduler.Health.All(sensor => sensor.Readings >= 1) && Health("attic").Readings >= 2);
        await Until.True(() => Stored().Select(Name).Distinct().Count() == 5);
        var began = BufferFixture.Noon;
        Assert.Equal(began, First("attic"));
        Assert.Equal(began.AddSeconds(1), First("cellar"));
        Assert.Equal(began.AddSeconds(1), First("roof"));
        Assert.Equal(began.AddSeconds(1), First("gate"));

        string Name(JsonElement reading) => reading.GetProperty("sensor").GetString()!;
        DateTimeOffset First(string name) => Stored().First(reading => Name(reading) == name).GetProperty("time").GetDateTimeOffset();
    }

    [Fact]
    public async Task All_sensors_share_one_timer()
    {
        await ApplyAsync(Simulated("attic", 1));
        await Until.True(() => Health("attic").Readings == 1);
        var timers = _world.Clock.Timers;
        await ApplyAsync([.. Enumerable.Range(0, 50).Select(number => Simulated($"room{number}", 1 + number))]);
        await Until.True(() => _scheduler.Health.All(sensor => sensor.Readings == 1));
        await _world.Clock.UntilTimerAsync(_world.Clock.GetUtcNow().AddSeconds(1));
        Assert.Equal(timers, _world.Clock.Timers);
    }

    [Fact]
    public async Task Missed_readings_are_counted_and_not_made_up_for()
    {
        await ApplyAsync(Simulated("attic", 10));
        var began = _world.Clock.GetUtcNow();
        await _world.Clock.UntilTimerAsync(began.AddSeconds(10));
        _world.Clock.Advance(TimeSpan.FromSeconds(45));
        await _world.Clock.UntilTimerAsync(began.AddSeconds(50));
        _world.Clock.Advance(TimeSpan.FromSeconds(5));

        // Of the readings due at 0, 10, 20, 30, 40 and 50 s, the second is late and the next three are missed.
        await Until.True(() => Health("attic").Readings == 3);
        Assert.Equal(3, Health("attic").Missed);
    }

    [Fact]
    public async Task Repeated_failures_of_a_sensor_are_not_stored_each_time_and_its_recovery_is_stored()
    {
        Directory.Delete(_world.Root, recursive: true); // Neither /proc nor the volume exists.
        await ApplyAsync(Host);
        await Until.True(() => Health("host").Failures >= 5, _world.Clock, Step);
        Assert.Equal(SensorState.Failing, Health("host").State);

        _world.Write("proc/loadavg", "0.5 0 0 1/1 1");
        await Until.True(() => Health("host").Readings >= 1, _world.Clock, Step);
        await Until.True(() => Stored().Exists(data => data.GetProperty("quality").GetString() == "good"));
        var bad = Stored().TakeWhile(data => data.GetProperty("quality").GetString() == "bad").ToList();
        Assert.InRange(bad.Count, 1, Health("host").Failures - 1);
        Assert.All(bad, data => Assert.Equal("io", data.GetProperty("reason").GetString()));
        Assert.All(bad, data => Assert.Empty(data.GetProperty("values").EnumerateObject()));
        var good = Stored()[bad.Count];
        Assert.Equal(0.5, good.GetProperty("values").GetProperty("load1").GetDouble());
    }

    [Fact]
    public async Task Only_sensors_whose_settings_changed_are_restarted()
    {
        await ApplyAsync(Simulated("attic", 1), Simulated("cellar", 1), Simulated("roof", 1));
        await Until.True(() => _scheduler.Health.All(sensor => sensor.Readings >= 3), _world.Clock, TimeSpan.FromMilliseconds(200));

        await ApplyAsync(Simulated("attic", 1), Simulated("cellar", 2), Simulated("garden", 1));
        Assert.Equal(["attic", "cellar", "garden"], _scheduler.Health.Select(sensor => sensor.Name).Order());
        Assert.True(Health("attic").Readings >= 3);
        Assert.True(Health("cellar").Readings <= 1);
    }

    [Fact]
    public async Task A_sensor_can_be_read_on_demand_between_scheduled_readings()
    {
        await ApplyAsync(Simulated("attic", 86_400));
        await Until.True(() => Health("attic").Readings >= 1, _world.Clock, TimeSpan.FromMilliseconds(100));
        var reading = await _scheduler.ReadNowAsync("attic");
        Assert.Equal(3, reading!.Values.Count);
        Assert.Null(await _scheduler.ReadNowAsync("nowhere"));
        await Until.True(() => _buffer.GetStatus().Depth == 2);
    }

    [Fact]
    public async Task On_demand_readings_succeed_while_the_settings_change_repeatedly()
    {
        const int Changes = 300;
        await ApplyAsync(Simulated("attic", 86_400));
        using var done = new CancellationTokenSource();
        var readers = Enumerable.Range(0, 4).Select(_ => Task.Run(async () =>
        {
            while (!done.IsCancellationRequested) Assert.NotNull(await _scheduler.ReadNowAsync("attic"));
        })).ToList();
        for (var change = 0; change < Changes; change++) await ApplyAsync(Simulated("attic", 86_399 - (change % 2)));
        await done.CancelAsync();
        await Task.WhenAll(readers);
    }

    [Fact]
    public async Task Every_reading_has_the_tags_of_its_sensor()
    {
        await ApplyAsync(
            new SensorSettings("attic", SimulatedSensor.Kind, TimeSpan.FromSeconds(1), """{"kind":"simulated","tags":{"rack":"7"}}"""), Simulated("cellar", 1));
        await Until.True(() => Stored().Select(reading => reading.GetProperty("sensor").GetString()).Distinct().Count() == 2);
        Assert.All(Stored(), reading => Assert.Equal(
            reading.GetProperty("sensor").GetString() == "attic" ? """{"rack":"7"}""" : null,
            reading.TryGetProperty("tags", out var tags) ? tags.GetRawText() : null));
    }

    [Fact]
    public async Task After_the_scheduler_has_stopped_no_sensor_is_read_or_started()
    {
        await ApplyAsync(Simulated("attic", 1));
        await Until.True(() => Health("attic").Readings >= 1, _world.Clock, TimeSpan.FromMilliseconds(100));
        await _scheduler.StopAsync(TestContext.Current.CancellationToken);
        var before = Health("attic").Readings;
        await ApplyAsync(Simulated("attic", 1), Simulated("late", 1));
        _world.Clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(before, Assert.Single(_scheduler.Health).Readings);
    }
}
