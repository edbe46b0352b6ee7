using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Kernel;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>The sensor kinds gpio and counter, from the kernel's events to the stored readings.</summary>
public sealed class GpioTests : IAsyncLifetime
{
    readonly SensorFixture _world = new();
    readonly BufferFixture _files = new();
    readonly FakeGpioLine _line;
    TelemetryBuffer _buffer = null!;
    SensorScheduler _scheduler = null!;

    public GpioTests() => _line = new(_world.Clock);

    public ValueTask InitializeAsync() => StartAsync(BufferFixture.AtOnce);

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _line.Dispose();
        _files.Dispose();
        _world.Dispose();
    }

    async ValueTask StartAsync(BufferLimits limits)
    {
        _buffer = await _files.OpenAsync(limits);
        _scheduler = new(
            _world.World with { Totals = new(_buffer) }, _buffer, _world.Clock, new NoJitter(), NullLogger<SensorScheduler>.Instance);
    }

    async Task StopAsync()
    {
        await _scheduler.StopAsync(CancellationToken.None);
        _scheduler.Dispose();
        await Until.True(() => !_line.IsTaken); // Released on the bus's thread.
        await _buffer.DisposeAsync();
    }

    // Must differ from the ten seconds of a measurement's timeout, since the tests find the timer by its due time.
    static readonly TimeSpan CounterInterval = TimeSpan.FromSeconds(20);

    SensorSettings Contact(string options = "", Func<GpioPlace, GpioRequest, GpioLine>? open = null) => new(
        "door", ContactSensor.Kind with { Make = (settings, world) => new ContactSensor(settings, world, open ?? _line.Open) }, TimeSpan.FromMinutes(1), $"{{\"kind\":\"gpio\",\"line\":17{options}}}");

    SensorSettings Counter(string options = "") => new(
        "meter", PulseCounter.Kind with { Make = (settings, world) => new PulseCounter(settings, world, _line.Open) }, CounterInterval, $"{{\"kind\":\"counter\",\"line\":\"GPIO17\"{options}}}");

    Task ApplyAsync(params SensorSettings[] sensors) =>
        _scheduler.ApplyAsync(sensors.ToDictionary(sensor => sensor.Name), TestContext.Current.CancellationToken);

    List<JsonElement> Stored() => [.. BufferFixture.ReadAll(_buffer).Select(row => JsonDocument.Parse(row.Payload).RootElement)];

    async Task<List<JsonElement>> StoredAsync(int count)
    {
        await Until.True(() => Stored().Count >= count);
        return Stored();
    }

    /// <summary>Advances the clock to the counter's next scheduled reading and returns it.</summary>
    async Task<JsonElement> NextAsync()
    {
        var before = Stored().Count;
        await _world.Clock.UntilTimerAsync(_world.Clock.GetUtcNow() + CounterInterval);
        _world.Clock.Advance(CounterInterval);
        return (await StoredAsync(before + 1))[before];
    }

    static double Value(JsonElement reading, string name) => reading.GetProperty("values").GetProperty(name).GetDouble();

    [Fact]
    public async Task A_contact_reports_its_level_and_then_each_edge_with_the_time_of_the_edge()
    {
        await ApplyAsync(Contact());
        await StoredAsync(1);
        _world.Clock.Advance(TimeSpan.FromSeconds(7));
        var at = _world.Clock.GetUtcNow();
        _line.Change(0, true, false, true);
        var readings = await StoredAsync(4);
        Assert.Equal([0, 1, 0, 1], readings.Select(reading => Value(reading, "state")));
        Assert.All(readings, reading => Assert.Equal("good", reading.GetProperty("quality").GetString()));
        Assert.All(readings.Skip(1), reading => Assert.Equal(at, reading.GetProperty("time").GetDateTimeOffset()));

        // Edges do not change the schedule.
        await _world.Clock.UntilTimerAsync(at.AddSeconds(53));
        _world.Clock.Advance(TimeSpan.FromSeconds(53));
        readings = await StoredAsync(5);
        Assert.Equal(TimeSpan.FromMinutes(1), readings[4].GetProperty("time").GetDateTimeOffset() - readings[0].GetProperty("time").GetDateTimeOffset());
        Assert.Equal(0, _scheduler.Health.Single().Missed);
    }

    [Fact]
    public async Task A_contact_waiting_for_an_edge_is_not_reported_as_stuck()
    {
        await ApplyAsync(Contact() with { Interval = TimeSpan.FromHours(1) });
        await StoredAsync(1);
        _line.Change(0, true);
        await StoredAsync(2);
        _world.Clock.Advance(TimeSpan.FromMinutes(50));
        await Until.True(() => _scheduler.FindStuck(TimeSpan.FromMinutes(2)) is null);
    }

    [Fact]
    public void An_edge_has_the_kernels_timestamp_however_late_it_is_read()
    {
        _world.Clock.Advance(TimeSpan.FromSeconds(5));
        var at = _world.Clock.GetUtcNow();
        _world.Clock.Advance(TimeSpan.FromMilliseconds(1234));
        Assert.Equal(at, new SensorWorld(_world.Roots, _world.Clock).TimeOf(5_000_000_000));
    }

    [Fact]
    public async Task Lost_edges_make_the_next_reading_uncertain()
    {
        await ApplyAsync(Contact());
        await StoredAsync(1);
        _line.Change(lost: 3, true, false);
        var readings = await StoredAsync(3);
        Assert.Equal("uncertain", readings[1].GetProperty("quality").GetString());
        Assert.Equal("overrun", readings[1].GetProperty("reason").GetString());
        Assert.Equal("good", readings[2].GetProperty("quality").GetString());
    }

    [Fact]
    public async Task After_a_burst_of_edges_the_newest_level_is_reported()
    {
        await ApplyAsync(Contact());
        await StoredAsync(1);
        for (var i = 0; i < 100; i++) _line.Change(0, [.. Enumerable.Range(0, 60).Select(number => number % 2 == 0)]);
        _line.Change(0, true);
        await Until.True(() => Stored() is var all && Value(all[^1], "state") == 1 && _scheduler.Health.Single().Reason is null);
    }

    [Fact]
    public async Task Edges_that_cannot_be_read_yet_wait_without_a_busy_loop()
    {
        await ApplyAsync(Contact());
        await StoredAsync(1);
        _line.TimesOut = true;
        for (var failures = 1; failures <= 2; failures++)
        {
            // A third failure would close the line.
            await _world.Clock.UntilTimerAsync(_world.Clock.GetUtcNow() + TimeSpan.FromMinutes(1));
            _world.Clock.Advance(TimeSpan.FromMinutes(1));
            await Until.True(() => _scheduler.Health.Single().Failures >= failures);
        }

        // The circuit is open: GPIO is only probed every 30 s. Now an edge arrives.
        var at = _world.Clock.GetUtcNow();
        var before = _scheduler.Health.Single().Failures;
        _line.Change(0, true);
        await Until.True(() => _scheduler.Health.Single().Failures > before);
        before = _scheduler.Health.Single().Failures;
        for (var asked = 0; asked < 20; asked++)
            Assert.Equal("bus-timeout", (await _scheduler.ReadNowAsync("door"))!.Reason);
        // The 20 requested readings, and at most one for the edge, if a probe was already in progress.
        Assert.InRange(_scheduler.Health.Single().Failures - before, 20, 21);

        _line.TimesOut = false;
        await Until.True(
            () => _scheduler.Health.Single().State == SensorState.Working, _world.Clock, TimeSpan.FromSeconds(1));
        await Until.True(() => Stored()[^1].GetProperty("quality").GetString() == "good");
        var edge = Stored().First(reading =>
            reading.GetProperty("values").TryGetProperty("state", out var state) && state.GetInt32() == 1);
        Assert.Equal(at, edge.GetProperty("time").GetDateTimeOffset());
    }

    [Fact]
    public async Task An_on_demand_reading_during_a_settings_change_uses_the_new_settings()
    {
        using var gate = new ManualResetEventSlim();
        using var isOpening = new ManualResetEventSlim();
        GpioLine Open(GpioPlace place, GpioRequest request)
        {
            isOpening.Set();
            gate.Wait(TestContext.Current.CancellationToken);
            return _line.Open(place, request);
        }

        using var scheduler = new SensorScheduler(
            _world.World, _buffer, _world.Clock, new NoJitter(), NullLogger<SensorScheduler>.Instance);
        Task ChangeAsync(params SensorSettings[] sensors) =>
            scheduler.ApplyAsync(sensors.ToDictionary(sensor => sensor.Name), TestContext.Current.CancellationToken);
        await ChangeAsync(Contact(open: Open));
        isOpening.Wait(TestContext.Current.CancellationToken);
        var asked = scheduler.ReadNowAsync("door");
        await ChangeAsync(Contact(",\"label\":\"Front\"", Open));
        gate.Set();
        Assert.Equal("Front", (await asked)!.Label);

        var last = scheduler.ReadNowAsync("door");
        await ChangeAsync();
        await last; // A reading or null, but no exception.
        Assert.Null(await scheduler.ReadNowAsync("door"));
        await scheduler.StopAsync(TestContext.Current.CancellationToken);
    }

    [Theory]
    [InlineData("", GpioRequest.Rising | GpioRequest.Falling)]
    [InlineData(",\"edges\":\"active\"", GpioRequest.Rising)]
    [InlineData(",\"edges\":\"inactive\",\"activeLow\":true", GpioRequest.Falling | GpioRequest.ActiveLow)]
    [InlineData(",\"edges\":\"none\",\"bias\":\"pullUp\"", GpioRequest.PullUp)]
    [InlineData(",\"edges\":\"none\",\"bias\":\"pullDown\"", GpioRequest.PullDown)]
    [InlineData(",\"edges\":\"none\",\"bias\":\"disabled\",\"debounceMilliseconds\":20", GpioRequest.NoBias)]
    public async Task Settings_are_translated_to_the_kernels_line_flags(string options, ulong flags)
    {
        await ApplyAsync(Contact(options));
        await StoredAsync(1);
        Assert.Equal(flags | GpioRequest.Input, _line.Request!.Flags);
        Assert.Equal(options.Contains("debounce", StringComparison.Ordinal) ? 20 : 0, _line.Request.Debounce.TotalMilliseconds);
    }

    [Fact]
    public async Task An_unplugged_line_is_bad_at_once_and_good_again_after_it_returns()
    {
        await ApplyAsync(Contact());
        await StoredAsync(1);
        _line.Unplug();
        Assert.Equal("absent", (await StoredAsync(2))[1].GetProperty("reason").GetString());
        _line.PlugIn();
        await Until.True(() => Stored()[^1].GetProperty("quality").GetString() == "good", _world.Clock, TimeSpan.FromSeconds(20));
        var before = Stored().Count;
        _line.Change(0, true);
        // A scheduled reading may come first.
        await Until.True(() => Stored().Skip(before).Any(reading => Value(reading, "state") == 1));
    }

    [Fact]
    public async Task A_counter_reports_its_total_and_rate()
    {
        await ApplyAsync(Counter());
        var first = (await StoredAsync(1))[0];
        Assert.Equal(0, Value(first, "total"));
        Assert.False(first.GetProperty("values").TryGetProperty("rate", out _));
        _line.Pulse(50);
        await Until.True(() => _buffer.LoadDocument("counter.meter") is not null);
        var second = await NextAsync();
        Assert.Equal((50, 2.5), (Value(second, "total"), Value(second, "rate")));
        var third = await NextAsync();
        Assert.Equal((50, 0), (Value(third, "total"), Value(third, "rate")));
    }

    [Fact]
    public async Task Pulses_lost_in_an_overrun_are_counted_and_the_reading_reports_the_overrun()
    {
        await ApplyAsync(Counter());
        await StoredAsync(1);
        _line.Pulse(10, lost: 90);
        await Until.True(() => _buffer.LoadDocument("counter.meter") is not null);
        var reading = await NextAsync();
        Assert.Equal(100, Value(reading, "total"));
        Assert.Equal("overrun", reading.GetProperty("reason").GetString());
        Assert.Equal("good", (await NextAsync()).GetProperty("quality").GetString());
    }

    [Fact]
    public async Task A_counter_total_continues_after_a_restart_and_after_a_settings_change()
    {
        await ApplyAsync(Counter());
        await StoredAsync(1);
        _line.Pulse(7);
        await Until.True(() => _buffer.LoadDocument("counter.meter") is not null);
        await StopAsync();
        await StartAsync(BufferFixture.AtOnce);
        await ApplyAsync(Counter());
        Assert.Equal(7, Value((await StoredAsync(2))[1], "total"));
        _line.Pulse(3);
        await ApplyAsync(Counter(",\"label\":\"Water\""));
        Assert.InRange(Value((await StoredAsync(3))[2], "total"), 7, 10);
        Assert.Equal(10, Value(await NextAsync(), "total"));
    }

    [Fact]
    public async Task A_total_is_committed_together_with_the_reading_that_reports_it_without_an_extra_commit()
    {
        await StopAsync();
        await StartAsync(new() { CommitInterval = TimeSpan.FromHours(1) });
        await ApplyAsync(Counter());
        await Until.True(() => _buffer.GetStatus().InMemory == 1);
        await _buffer.CommitAsync(TestContext.Current.CancellationToken);
        var commits = _buffer.GetStatus().Commits;
        for (var i = 0; i < 20; i++) _line.Pulse(5);
        await Until.True(() => _buffer.GetStatus().InMemory >= 1, _world.Clock, TimeSpan.FromSeconds(1));
        Assert.Null(_buffer.LoadDocument("counter.meter"));
        await _buffer.CommitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(commits + 1, _buffer.GetStatus().Commits);
        var saved = double.Parse(System.Text.Encoding.ASCII.GetString(_buffer.LoadDocument("counter.meter")!.Value.Span), System.Globalization.CultureInfo.InvariantCulture);
        Assert.True(saved >= Value(Stored()[^1], "total"), $"{saved} was saved, but {Stored()[^1]} was reported");
    }

    [Fact]
    public async Task A_total_without_a_reading_is_committed_after_the_commit_interval()
    {
        await StopAsync();
        await StartAsync(new() { CommitInterval = TimeSpan.FromMilliseconds(50) });
        await ApplyAsync(Counter());
        await StoredAsync(1);
        _line.Pulse(3);
        await Until.True(() => _buffer.LoadDocument("counter.meter") is { } saved && saved.Span.SequenceEqual("3"u8));
        _line.Pulse(1);
        await Until.True(() => _buffer.LoadDocument("counter.meter") is { } saved && saved.Span.SequenceEqual("4"u8));
    }

    [Fact]
    public async Task A_counter_whose_saved_total_is_not_a_number_reports_an_error_and_does_not_count()
    {
        await _buffer.SaveDocumentAsync("counter.meter", "many"u8.ToArray(), TestContext.Current.CancellationToken);
        await ApplyAsync(Counter());
        Assert.Equal("error", (await StoredAsync(1))[0].GetProperty("reason").GetString());
        Assert.Contains("counter.meter", _scheduler.Health.Single().Detail, StringComparison.Ordinal);
        Assert.False(_line.IsTaken);
    }

    [Fact]
    public void Only_one_sensor_can_use_a_GPIO_line()
    {
        using var json = JsonDocument.Parse("""{"a":{"kind":"gpio","line":17},"b":{"kind":"counter","line":"17"},"c":{"kind":"counter","line":18.0}}""");
        var sensors = new SensorForwarder.Configuration.SensorsParser(Module.SensorKinds, _world.World).Read(json.RootElement, null, TimeSpan.FromSeconds(5), out _, out var errors);
        Assert.Equal(["a", "c"], sensors.Keys);
        Assert.Contains("b: GPIO line 17 is already used by sensor a", Assert.Single(errors), StringComparison.Ordinal);
    }

    [Fact]
    public void Without_a_chip_the_fault_says_what_the_container_needs()
    {
        var measurement = _world.Measure("gpio", "\"line\":17");
        Assert.Equal(FaultReason.Absent, measurement.Reason);
        Assert.Contains("Devices", measurement.Detail, StringComparison.Ordinal);
        _world.Write("dev/gpiochip0", "no chip");
        measurement = _world.Measure("gpio", "\"line\":17,\"chip\":\"pinctrl-rp1\"");
        Assert.Equal(ReadingQuality.Bad, measurement.Quality);
        Assert.Contains("gpiochip0", measurement.Detail, StringComparison.Ordinal);
    }
}
