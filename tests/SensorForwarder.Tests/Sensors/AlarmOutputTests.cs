using SensorForwarder.Buffer;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>The output of an alarm on a simulated GPIO line. SensorForwarder.KernelTests has the same on a real kernel.</summary>
public sealed class AlarmOutputTests : IAsyncLifetime
{
    readonly SensorFixture _world = new();
    readonly BufferFixture _files = new(inMemory: true);
    readonly Lamp _lamp = new();
    readonly LogLines _log = new();
    TelemetryBuffer _buffer = null!;
    SensorScheduler _scheduler = null!;

    public async ValueTask InitializeAsync()
    {
        _buffer = await _files.OpenAsync();
        Start();
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        await _buffer.DisposeAsync();
        _files.Dispose();
        _world.Dispose();
    }

    void Start() => _scheduler = new(
        new SensorWorld(_world.Roots, _world.Clock) { Alarms = new(_buffer), OpenOutput = _lamp.Open }, _buffer, _world.Clock, new NoJitter(),
        _log.For<SensorScheduler>());

    async Task StopAsync()
    {
        await _scheduler.StopAsync(CancellationToken.None);
        _scheduler.Dispose();
    }

    SensorSettings Sensor(string name, string output = """{"chip":"pinctrl","line":"GPIO27","activeLow":true}""") => SensorFixture.Settings(
        "file", $$"""
        "path":"{{Path.Combine(_world.Root, name)}}","alarms":[{"value":"value","above":30,"output":{{output}}}]
        """, name);

    Task ApplyAsync(params SensorSettings[] sensors) =>
        _scheduler.ApplyAsync(sensors.ToDictionary(sensor => sensor.Name), TestContext.Current.CancellationToken);

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

    [Fact]
    public async Task The_line_is_active_while_an_alarm_is_raised_even_after_a_restart()
    {
        Write("attic", "20");
        await ApplyAsync(Sensor("attic"));
        await Until.True(() => _lamp.Level == false);
        Assert.Equal(new("pinctrl", "GPIO27", IsActiveLow: true), _lamp.Output);
        await ReadAsync("attic", "31");
        await Until.True(() => _lamp.Level == true);
        await StopAsync();
        await Until.True(() => _lamp.Level is null);
        Start();
        await ApplyAsync(Sensor("attic"));
        await Until.True(() => _lamp.Level == true);
        await ReadAsync("attic", "20");
        await Until.True(() => _lamp.Level == false);
        await ApplyAsync();
        await Until.True(() => _lamp.Level is null);
    }

    [Fact]
    public async Task Alarms_of_several_sensors_can_share_a_line()
    {
        Write("attic", "31");
        Write("cellar", "31");
        await ApplyAsync(Sensor("attic"), Sensor("cellar"));
        await Until.True(() => _lamp.Level == true);
        await ReadAsync("attic", "20");
        await ReadAsync("cellar", "32");
        await ReadAsync("cellar", "20");
        await Until.True(() => _lamp.Level == false);
        Assert.Equal(1, _lamp.Opened);
    }

    [Fact]
    public async Task A_failing_line_is_reported_and_retried_while_sensing_continues()
    {
        _lamp.Fault = "it is used by somebody else";
        Write("attic", "31");
        await ApplyAsync(Sensor("attic"));
        await Until.True(() => _log.Has("line GPIO27 of pinctrl: it is used by somebody else. Retrying every 10 s; sensing continues."));
        await ReadAsync("attic", "32");
        Assert.Equal(32, _scheduler.Health[0].Last!.Values[0].Value);
        _lamp.Fault = null;
        await Until.True(() => _lamp.Level == true, _world.Clock, TimeSpan.FromSeconds(1));
        _lamp.Fault = "the chip is gone";
        await ReadAsync("attic", "20");
        await Until.True(() => _log.Has("the chip is gone"));
        await Until.True(() => _lamp.Level is null);
        _lamp.Fault = null;
        await Until.True(() => _lamp.Level == false, _world.Clock, TimeSpan.FromSeconds(1));
        await Until.True(() => _log.Has("works again"));
    }

    sealed class Lamp
    {
        volatile object? _level; // a bool; null: the line is not open
        volatile string? _fault;
        int _opened;

        public bool? Level => _level as bool?;

        public int Opened => Volatile.Read(ref _opened);

        public string? Fault
        {
            get => _fault;
            set => _fault = value;
        }

        public AlarmOutput? Output { get; private set; }

        public OutputLine Open(AlarmOutput output, bool isActive)
        {
            if (_fault is { } fault) throw new SensorFault(FaultReason.Busy, fault);
            Output = output;
            Interlocked.Increment(ref _opened);
            _level = isActive;
            return new(Set, new Taken(this));
        }

        void Set(bool level)
        {
            if (_fault is { } fault) throw new SensorFault(FaultReason.Absent, fault);
            _level = level;
        }

        sealed class Taken(Lamp lamp) : IDisposable
        {
            public void Dispose() => lamp._level = null;
        }
    }
}
