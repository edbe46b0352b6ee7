using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Alarms of sensors that are read from files, from the settings to the buffer.</summary>
public sealed class SensorAlarmTests : IAsyncLifetime
{
    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    readonly SensorFixture _world = new();
    readonly BufferFixture _files = new(inMemory: true);
    TelemetryBuffer _buffer = null!;
    SensorWorld _sensors = null!;
    SensorScheduler _scheduler = null!;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync() => StartAsync();

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _files.Dispose();
        _world.Dispose();
    }

    async ValueTask StartAsync()
    {
        _buffer = await _files.OpenAsync();
        _sensors = new(_world.Roots, _world.Clock) { Alarms = new(_buffer) };
        _scheduler = new(_sensors, _buffer, _world.Clock, new NoJitter(), NullLogger<SensorScheduler>.Instance);
    }

    async Task StopAsync()
    {
        await _scheduler.StopAsync(CancellationToken.None);
        _scheduler.Dispose();
        await _buffer.DisposeAsync();
    }

    SensorSettings Sensor(string name, string options) => SensorFixture.Settings(
        "file", $"\"path\":\"{Path.Combine(_world.Root, name)}\",{options}", name);

    Task ApplyAsync(params SensorSettings[] sensors) => _scheduler.ApplyAsync(sensors.ToDictionary(sensor => sensor.Name), Token);

    // Replaced atomically: a read between truncating and writing would fail, and its retries would wait for the fake clock.
    void Write(string sensor, string content)
    {
        _world.Write($"{sensor}.new", content);
        File.Move(Path.Combine(_world.Root, $"{sensor}.new"), Path.Combine(_world.Root, sensor), overwrite: true);
    }

    async Task ReadAsync(string sensor, string content)
    {
        Write(sensor, content);
        await _scheduler.ReadNowAsync(sensor);
    }

    /// <summary>The reports in the buffer, in words.</summary>
    async Task<List<string>> ReportsAsync()
    {
        await _buffer.CommitAsync(Token);
        return [.. Stored().Where(data => data.TryGetProperty("alarm", out _)).Select(data =>
            $"{data.GetProperty("sensor")}: {data.GetProperty("alarm").GetProperty("name")} {data.GetProperty("alarm").GetProperty("state")} {data.GetProperty("values")}")];
    }

    List<JsonElement> Stored() => [.. BufferFixture.ReadAll(_buffer).Select(row => JsonDocument.Parse(row.Payload).RootElement)];

    AlarmStatus Status(string sensor) => _scheduler.Health.Single(health => health.Name == sensor).Alarms[0];

    [Fact]
    public async Task An_alarm_report_contains_all_fields_that_a_receiver_needs()
    {
        Write("attic", "31.5");
        await ApplyAsync(Sensor("attic", "\"label\":\"Attic\",\"alarms\":[{\"value\":\"value\",\"above\":30,\"severity\":\"critical\"}]"));
        await Until.True(() => Status("attic").Since is not null);
        await _buffer.CommitAsync(Token);
        Assert.Equal(
            """{"sensor":"attic","kind":"alarm","label":"Attic","time":"2026-11-24T12:00:00.000Z","quality":"good","values":{"value":31.5},"alarm":{"name":"value above 30","state":"raised","severity":"critical","condition":"above","value":"value","threshold":30,"since":"2026-11-24T12:00:00.000Z"}}""",
            Stored().Single(data => data.GetProperty("kind").GetString() == "alarm").GetRawText());
        Assert.Equal(BufferFixture.Noon, Status("attic").Since);
    }

    [Fact]
    public async Task An_alarm_report_is_committed_at_once_and_marked_as_urgent()
    {
        _buffer.ApplyLimits(new() { CommitInterval = TimeSpan.FromDays(1) });
        Write("attic", "31");
        await ApplyAsync(Sensor("attic", "\"alarms\":[{\"value\":\"value\",\"above\":30}]"));
        await Until.True(() => !_buffer.Urgent.IsEmpty);
        var urgent = Assert.Single(BufferFixture.ReadAll(_buffer), row => _buffer.Urgent.Contains(row.Id));
        Assert.True(AlarmReport.IsIn(urgent.Payload.Span));
        Assert.Equal(1, _buffer.Urgent.Count);
    }

    [Fact]
    public async Task A_value_suppressed_by_the_deadband_still_raises_an_alarm()
    {
        Write("attic", "29");
        await ApplyAsync(Sensor("attic", "\"deadband\":10,\"alarms\":[{\"value\":\"value\",\"above\":30}]"));
        await Until.True(() => _scheduler.Health[0].Readings == 1);
        for (var i = 0; i < 3; i++)
        {
            Write("attic", "31");
            _world.Clock.Advance(Second);
            await Until.True(() => Status("attic").Since is not null);
        }

        Assert.Equal(["attic: value above 30 raised {\"value\":31}"], await ReportsAsync());
        Assert.Single(Stored(), data => data.GetProperty("kind").GetString() == "file");
    }

    [Fact]
    public async Task The_alarm_state_survives_a_restart_and_is_not_reported_again()
    {
        var attic = Sensor("attic", "\"alarms\":[{\"value\":\"value\",\"above\":30},{\"bad\":true}]");
        Write("attic", "31");
        await ApplyAsync(attic);
        await ReadAsync("attic", "31");
        await ReadAsync("attic", "32");
        for (var run = 0; run < 3; run++)
        {
            await StopAsync();
            await StartAsync();
            await ApplyAsync(attic);
            await ReadAsync("attic", "33");
            Assert.Equal(BufferFixture.Noon, Status("attic").Since);
        }

        await ReadAsync("attic", "20");
        await ReadAsync("attic", "35");
        Assert.Equal(
            ["attic: value above 30 raised {\"value\":31}", "attic: value above 30 cleared {\"value\":20}", "attic: value above 30 raised {\"value\":35}"],
            await ReportsAsync());
    }

    [Fact]
    public async Task An_alarm_removed_while_raised_is_reported_as_removed()
    {
        Write("attic", "31");
        Write("cellar", "31");
        const string Alarms = "\"alarms\":[{\"value\":\"value\",\"above\":30}]";
        await ApplyAsync(Sensor("attic", Alarms), Sensor("cellar", Alarms));
        await Until.True(() => Status("attic").Since is not null && Status("cellar").Since is not null);
        await ApplyAsync(Sensor("attic", Alarms.Replace("30", "30.5", StringComparison.Ordinal)));
        await Until.True(() => Status("attic").Since is not null);
        var reports = await ReportsAsync();
        Assert.Equal(
            ["attic: value above 30 raised {\"value\":31}", "attic: value above 30 removed {}", "attic: value above 30.5 raised {\"value\":31}", "cellar: value above 30 raised {\"value\":31}", "cellar: value above 30 removed {}"],
            reports.Order(StringComparer.Ordinal));

        // The alarm is removed while the module is not running.
        await StopAsync();
        await StartAsync();
        await ApplyAsync();
        Assert.Equal("attic: value above 30.5 removed {}", (await ReportsAsync())[^1]);
        Assert.Equal(6, (await ReportsAsync()).Count);
    }

    [Fact]
    public async Task An_alarm_change_refused_by_a_full_buffer_is_reported_once_the_buffer_accepts_readings_again()
    {
        Write("attic", "20");
        var attic = Sensor("attic", "\"alarms\":[{\"value\":\"value\",\"above\":30}]");
        await ApplyAsync(attic);
        await Until.True(() => _scheduler.Health[0].Readings == 1);
        _buffer.ApplyLimits(new() { CommitInterval = TimeSpan.Zero, MaxBytes = 4 << 20, WhenFull = WhenFull.RejectNew });
        var number = 0;
        while (_buffer.GetStatus().FullAction != WhenFull.RejectNew)
        {
            try
            {
                await Task.WhenAll(Enumerable.Range(0, 1000).Select(_ => _buffer.EnqueueAsync(BufferFixture.Incompressible(number++), Token).AsTask()));
            }
            catch (BufferRejectedException)
            {
                // Expected: the buffer is full.
            }
        }

        // The report is refused, unless the buffer has just made room by merging: then it is stored after the others.
        var filled = _buffer.LastCommittedId;
        await ReadAsync("attic", "31");
        await ReadAsync("attic", "31");
        await _buffer.AcknowledgeAsync(1, filled, Token);
        await Until.True(() => _buffer.GetStatus().FullAction is null);
        await Until.True(async () =>
        {
            await ReadAsync("attic", "32");
            return Status("attic").Since is not null && (await ReportsAsync()).Count > 0;
        });
        Assert.Matches("^attic: value above 30 raised {\"value\":3[12]}$", Assert.Single(await ReportsAsync()));
    }

    [Fact]
    public async Task An_alarm_of_a_pushed_sensor_survives_a_restart_and_ends_when_its_setting_is_removed()
    {
        const string Options = "\"broker\":\"mqtt://broker\",\"topics\":[\"a/+\"],\"alarms\":[{\"value\":\"t\",\"above\":30}]";
        var zigbee = SensorFixture.Settings("mqtt", Options, "zigbee");
        Assert.True(_sensors.Alarms.IsKnown);
        Assert.Equal(AlarmOutcome.Reported, SensorAlarms.Of(zigbee, "attic", _sensors.Alarms, _world.Clock, NullLogger.Instance)!.Observe(
            new() { Sensor = "attic", Kind = "mqtt", Time = BufferFixture.Noon, Values = [new("t", 31)] }));
        await ApplyAsync(zigbee);
        await _buffer.CommitAsync(Token);
        await StopAsync();
        await StartAsync();
        await ApplyAsync(zigbee);
        Assert.Equal(["attic"], _sensors.Alarms.SensorsOf("zigbee"));
        Assert.True(_sensors.Alarms.IsRaised("zigbee", "t above 30"));
        await ApplyAsync(SensorFixture.Settings("mqtt", Options.Replace("30", "40", StringComparison.Ordinal), "zigbee"));
        Assert.Equal(["attic: t above 30 raised {\"t\":31}", "attic: t above 30 removed {}"], await ReportsAsync());
    }

    [Fact]
    public async Task A_sensor_without_alarm_settings_reports_and_saves_no_alarm()
    {
        Write("attic", "31");
        await ApplyAsync(Sensor("attic", "\"label\":\"Attic\""));
        await Until.True(() => _scheduler.Health[0].Readings == 1);
        Assert.Empty(_scheduler.Health[0].Alarms);
        Assert.Null(_buffer.LoadDocument("alarms"));
    }
}
