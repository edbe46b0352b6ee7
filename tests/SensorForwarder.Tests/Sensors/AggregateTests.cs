using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using CsCheck;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>The setting <c>aggregateSeconds</c>, from a sensor to the stored readings.</summary>
public sealed class AggregateTests : IAsyncLifetime
{
    readonly BufferFixture _files = new();
    readonly List<Run> _runs = [];
    TelemetryBuffer _buffer = null!;

    public async ValueTask InitializeAsync() => _buffer = await _files.OpenAsync();

    public async ValueTask DisposeAsync()
    {
        foreach (var run in _runs) await run.DisposeAsync();
        await _buffer.DisposeAsync();
        _files.Dispose();
    }

    [Fact]
    public async Task The_readings_of_a_window_are_stored_as_one_aggregate()
    {
        var run = NewRun("\"aggregateSeconds\":5,\"tags\":{\"rack\":\"7\"}");
        await run.StartAsync(1);
        foreach (var value in (double[])[2, 3, 4, 10, 7]) await run.TurnAsync(value);
        var stored = Assert.Single(await StoredAsync(1));
        Assert.Equal("2026-11-24T12:00:04.000Z", (string?)stored["time"]);
        Assert.Equal("good", (string?)stored["quality"]);
        Assert.Equal(4, (double)stored["values"]!["value"]!);
        Assert.Equal("""{"rack":"7"}""", stored["tags"]!.ToJsonString());
        Assert.Equal("""{"seconds":5,"readings":5,"values":{"value":{"count":5,"min":1,"max":10,"last":10}}}""", stored["aggregate"]!.ToJsonString());
        Assert.Equal(6, run.Health.Readings);
    }

    [Fact]
    public async Task Windows_start_at_multiples_of_their_length_and_a_window_joined_in_the_middle_is_partial()
    {
        var run = NewRun("\"aggregateSeconds\":5");
        run.Clock.Advance(TimeSpan.FromSeconds(3));
        await run.StartAsync(1);
        for (var value = 2; value <= 8; value++) await run.TurnAsync(value);
        var stored = await StoredAsync(2);
        Assert.Equal("""{"seconds":5,"readings":2,"partial":true,"values":{"value":{"count":2,"min":1,"max":2,"last":2}}}""", stored[0]["aggregate"]!.ToJsonString());
        Assert.Equal("""{"seconds":5,"readings":5,"values":{"value":{"count":5,"min":3,"max":7,"last":7}}}""", stored[1]["aggregate"]!.ToJsonString());
    }

    [Fact]
    public async Task Bad_readings_are_stored_at_once_and_counted_in_the_window()
    {
        var run = NewRun("\"aggregateSeconds\":5");
        await run.StartAsync(1);
        await run.TurnAsync(null);
        Assert.Equal("bad", (string?)Assert.Single(await StoredAsync(1))["quality"]);
        foreach (var value in (double[])[3, 4, 5, 6]) await run.TurnAsync(value);
        Assert.Equal(
            """{"seconds":5,"readings":4,"bad":1,"values":{"value":{"count":4,"min":1,"max":5,"last":5}}}""",
            (await StoredAsync(2))[1]["aggregate"]!.ToJsonString());
    }

    [Fact]
    public async Task A_window_with_an_uncertain_reading_is_uncertain_and_reports_their_number()
    {
        var run = NewRun("\"aggregateSeconds\":3,\"max\":10");
        await run.StartAsync(1);
        foreach (var value in (double[])[12, 2, 3, 4, 5, 6]) await run.TurnAsync(value);
        var stored = await StoredAsync(2);
        Assert.Equal(("uncertain", "limit"), ((string?)stored[0]["quality"], (string?)stored[0]["reason"]));
        Assert.Equal("""{"seconds":3,"readings":3,"uncertain":1,"values":{"value":{"count":3,"min":1,"max":12,"last":2}}}""", stored[0]["aggregate"]!.ToJsonString());
        Assert.Equal(("good", null), ((string?)stored[1]["quality"], (string?)stored[1]["reason"]));
    }

    [Fact]
    public async Task The_deadband_applies_to_the_means_of_windows()
    {
        var run = NewRun("\"aggregateSeconds\":2,\"deadband\":1");
        await run.StartAsync(10);
        foreach (var value in (double[])[12, 8, 15, 14, 15, 0]) await run.TurnAsync(value);
        Assert.Equal([11, 14.5], (await StoredAsync(2)).Select(stored => (double)stored["values"]!["value"]!));
    }

    [Fact]
    public async Task An_on_demand_reading_is_stored_at_once_and_also_counted_in_the_window()
    {
        var run = NewRun("\"aggregateSeconds\":2");
        await run.StartAsync(10);
        Assert.NotNull(await run.Scheduler.ReadNowAsync("attic"));
        Assert.Null((await StoredAsync(1))[0]["aggregate"]);
        await run.TurnAsync(11);
        await run.TurnAsync(12);
        Assert.Equal(3, (int)(await StoredAsync(2))[1]["aggregate"]!["readings"]!);
    }

    [Fact]
    public async Task A_stop_stores_the_open_window_once()
    {
        var run = NewRun("\"aggregateSeconds\":60");
        await run.StartAsync(1);
        await run.TurnAsync(2);
        await run.Scheduler.StopAsync(BufferFixture.Token);
        await _buffer.CommitAsync(BufferFixture.Token);
        var next = NewRun("\"aggregateSeconds\":60");
        await next.StartAsync(5);
        await next.Scheduler.StopAsync(BufferFixture.Token);
        var stored = await StoredAsync(2);
        Assert.Equal([(2, true), (1, true)], stored.Select(reading => ((int)reading["aggregate"]!["readings"]!, (bool)reading["aggregate"]!["partial"]!)));
    }

    [Fact]
    public async Task A_settings_change_stores_the_open_window_and_starts_a_new_one()
    {
        var run = NewRun("\"aggregateSeconds\":60");
        await run.StartAsync(1);
        await run.TurnAsync(2);
        await run.ApplyAsync("\"aggregateSeconds\":60,\"label\":\"Attic\"");
        await Until.True(() => run.Health.Readings == 1);
        await run.Scheduler.StopAsync(BufferFixture.Token);
        var stored = await StoredAsync(2);
        Assert.Equal([(null, 2), ("Attic", 1)], stored.Select(reading => ((string?)reading["label"], (int)reading["aggregate"]!["readings"]!)));
    }

    [Fact]
    public async Task After_a_kill_the_open_window_is_stored_as_last_saved()
    {
        // The window was saved at 0 and 30 s. The reading of 45 s is lost, since the process is never stopped gracefully.
        const double Seconds = 15;
        var killed = NewRun("\"aggregateSeconds\":60", Seconds);
        await killed.StartAsync(1);
        for (var value = 2; value <= 4; value++) await killed.TurnAsync(value);
        await _buffer.CommitAsync(BufferFixture.Token);
        Assert.Empty(await StoredAsync(0));

        var next = NewRun("\"aggregateSeconds\":60", Seconds);
        next.Clock.Advance(TimeSpan.FromMinutes(10));
        await next.StartAsync(7);
        var stored = Assert.Single(await StoredAsync(1));
        Assert.Equal("2026-11-24T12:00:30.000Z", (string?)stored["time"]);
        Assert.Equal("""{"seconds":60,"readings":3,"partial":true,"values":{"value":{"count":3,"min":1,"max":3,"last":3}}}""", stored["aggregate"]!.ToJsonString());

        // It is stored only once, and the window of the new process has replaced it.
        await _buffer.CommitAsync(BufferFixture.Token);
        var last = NewRun("\"aggregateSeconds\":60", Seconds);
        await last.StartAsync(8);
        Assert.Equal(7, (double)(await StoredAsync(2))[1]["values"]!["value"]!);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task After_a_kill_the_open_window_is_stored_even_if_aggregation_is_off_or_the_sensor_is_removed(bool isGone)
    {
        var killed = NewRun("\"aggregateSeconds\":60", 15);
        await killed.StartAsync(1);
        await _buffer.CommitAsync(BufferFixture.Token);
        Assert.Empty(await StoredAsync(0));

        var next = NewRun("\"label\":\"Attic\"", 15);
        if (isGone) await next.Scheduler.ApplyAsync(new Dictionary<string, SensorSettings>(), BufferFixture.Token);
        else await next.StartAsync(7);
        var stored = await StoredAsync(isGone ? 1 : 2);
        var window = Assert.Single(stored, reading => reading["aggregate"] is not null);
        Assert.Equal("""{"seconds":60,"readings":1,"partial":true,"values":{"value":{"count":1,"min":1,"max":1,"last":1}}}""", window["aggregate"]!.ToJsonString());

        // It is stored only once.
        await _buffer.CommitAsync(BufferFixture.Token);
        await NewRun("\"aggregateSeconds\":60", 15).StartAsync(8);
        Assert.Equal(stored.Count, (await StoredAsync(stored.Count)).Count);
    }

    [Fact]
    public void The_default_window_applies_to_sensors_without_their_own_that_are_read_more_often()
    {
        var parsed = SettingsFixture.NewParser().Parse(
            (JsonObject)JsonNode.Parse("""
            {"aggregateSeconds":60,"sensors":{
              "a":{"kind":"simulated"},"own":{"kind":"simulated","aggregateSeconds":300},"none":{"kind":"simulated","aggregateSeconds":0},
              "slow":{"kind":"simulated","intervalSeconds":60},"door":{"kind":"gpio","line":"GPIO17"}}}
            """)!, []);
        Assert.All(parsed.Verdicts, verdict => Assert.Null(verdict.Error));
        Assert.Equal(
            [("a", 60), ("door", null), ("none", null), ("own", 300), ("slow", (double?)null)],
            parsed.Settings.Sensors.OrderBy(sensor => sensor.Key).Select(sensor => (sensor.Key, sensor.Value.Window?.TotalSeconds)));
        Assert.Equal(TimeSpan.Zero, parsed.Settings.Sensors["own"].StandardWindow); // a change of the default window does not restart it
    }

    [Theory]
    [InlineData(3600)]
    [InlineData(-3600)]
    [InlineData(20)]
    public void When_the_clock_is_set_the_window_ends_and_it_and_the_next_one_are_partial(int seconds)
    {
        var clock = new SteppedClock(BufferFixture.Noon);
        var window = new AggregateWindow(TimeSpan.FromSeconds(60), TimeSpan.FromSeconds(1), clock);
        Assert.Null(window.Add(Of(1)));
        clock.Advance(TimeSpan.FromSeconds(10));
        Assert.Null(window.Add(Of(2)));
        clock.Advance(TimeSpan.FromSeconds(1));
        clock.Step(TimeSpan.FromSeconds(seconds));
        var before = window.Add(Of(3))!;
        Assert.Equal((2, true), (before.Aggregate!.Readings, before.Aggregate.IsPartial));
        clock.Advance(TimeSpan.FromSeconds(60));
        var after = window.Add(Of(4))!;
        Assert.Equal((1, true), (after.Aggregate!.Readings, after.Aggregate.IsPartial));
        clock.Advance(TimeSpan.FromSeconds(60));
        Assert.False(window.Add(Of(5))!.Aggregate!.IsPartial);
    }

    [Fact]
    public void A_window_without_values_yields_no_reading_and_its_bad_readings_are_not_counted_in_the_next()
    {
        var clock = new SteppedClock(BufferFixture.Noon);
        var window = new AggregateWindow(TimeSpan.FromSeconds(60), TimeSpan.FromSeconds(1), clock);
        Assert.Null(window.Add(Of(1) with { Quality = ReadingQuality.Bad, Values = [] }));
        Assert.Null(window.SoFar);
        clock.Advance(TimeSpan.FromSeconds(60));
        Assert.Null(window.Add(Of(2)));
        Assert.Equal(0, window.End()!.Aggregate!.Bad);
        Assert.Null(window.End());
    }

    [Fact]
    public void Mean_minimum_maximum_last_and_count_match_the_values() =>
        Gen.Double[-1e12, 1e12].Array[1, 100].Sample(values =>
        {
            var window = new AggregateWindow(TimeSpan.FromSeconds(60), TimeSpan.FromSeconds(1), new SteppedClock(BufferFixture.Noon));
            foreach (var value in values) window.Add(Of(value));
            var made = window.End()!;
            Assert.Equal(new ValueRange(values.Length, values.Min(), values.Max(), values[^1]), made.Aggregate!.Values[0].Value);
            Assert.Equal(values.Average(), made.Values[0].Value, tolerance: 1); // 100 roundings of 1e12
            Assert.InRange(made.Values[0].Value, values.Min(), values.Max());
        });

    static Reading Of(double value) => new() { Sensor = "attic", Kind = "simulated", Time = BufferFixture.Noon, Values = [new("value", value)] };

    Run NewRun(string options, double seconds = 1)
    {
        var run = new Run(_buffer, options, seconds);
        _runs.Add(run);
        return run;
    }

    /// <summary>Waits for this number of stored readings and returns them in order.</summary>
    async Task<List<JsonNode>> StoredAsync(int count)
    {
        await Until.True(() => BufferFixture.ReadAll(_buffer).Count >= count);
        var all = BufferFixture.ReadAll(_buffer).Select(BufferFixture.Text).ToList();
        Assert.Equal(count, all.Count);
        Assert.All(all, json => Assert.Null(MessageSchemaTests.Objection(json)));
        return [.. all.Select(json => JsonNode.Parse(json)!)];
    }

    /// <summary>A process with one sensor that reads a file.</summary>
    sealed class Run : IAsyncDisposable
    {
        readonly SensorFixture _world = new();
        readonly string _options;
        readonly double _seconds;

        public Run(TelemetryBuffer buffer, string options, double seconds)
        {
            (_options, _seconds) = (options, seconds);
            Scheduler = new(_world.World, buffer, _world.Clock, new NoJitter(), NullLogger<SensorScheduler>.Instance);
        }

        public SensorScheduler Scheduler { get; }

        public ObservedClock Clock => _world.Clock;

        public SensorHealth Health => Scheduler.Health.Single();

        /// <summary>Starts the sensor, which is read at once.</summary>
        public async Task StartAsync(double value)
        {
            Write(value);
            await ApplyAsync(_options);
            await Until.True(() => Health.Readings == 1);
            await UntilAsleepAsync();
        }

        public Task ApplyAsync(string options)
        {
            var settings = SensorFixture.Settings("file", $"\"path\":\"{Path.Combine(_world.Root, "level")}\",{options}");
            return Scheduler.ApplyAsync(
                new Dictionary<string, SensorSettings> { ["attic"] = settings with { Interval = TimeSpan.FromSeconds(_seconds) } }, BufferFixture.Token);
        }

        /// <summary>Advances the clock to the next scheduled reading, which reads this value; null: the file is missing and the reading fails.</summary>
        public async Task TurnAsync(double? value)
        {
            Write(value);
            var before = Health.Readings + Health.Failures;
            Clock.Advance(TimeSpan.FromSeconds(_seconds));
            await Until.True(() => Health.Readings + Health.Failures == before + 1);
            await UntilAsleepAsync();
        }

        public async ValueTask DisposeAsync()
        {
            await Scheduler.StopAsync(CancellationToken.None);
            Scheduler.Dispose();
            _world.Dispose();
        }

        // A scheduled reading is complete when the scheduler waits for the next one.
        Task UntilAsleepAsync() => Clock.UntilTimerAsync(Clock.GetUtcNow().AddSeconds(_seconds));

        void Write(double? value)
        {
            if (value is { } number) _world.Write("level", number.ToString(CultureInfo.InvariantCulture));
            else File.Delete(Path.Combine(_world.Root, "level"));
        }
    }
}
