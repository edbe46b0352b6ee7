using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Configuration;

public sealed class TwinSynchronizerTests : IAsyncLifetime
{
    readonly BufferFixture _files = new();
    readonly FakeHub _hub = new();
    readonly FakeTimeProvider _clock = new();
    TelemetryBuffer _buffer = null!;
    Forwarder _forwarder = null!;
    SensorScheduler _scheduler = null!;
    SettingsStore _store = null!;
    ReportedProperties _reported = null!;
    TwinSynchronizer _twin = null!;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    ForwardingSettings InForce => _store.Current!.Settings.Forwarding;

    public ValueTask InitializeAsync() => StartAsync();

    async ValueTask StartAsync()
    {
        _buffer = await _files.OpenAsync();
        _forwarder = new(
            _buffer, new Dictionary<SinkKind, ISink>(), new("d", "m", () => _buffer.Epoch), TimeProvider.System, new Random(1),
            NullLogger<Forwarder>.Instance);
        var factory = new SensorFactory(new("/proc", "/sys", _files.Directory), TimeProvider.System);
        _scheduler = new(factory, _buffer, TimeProvider.System, new Random(1), NullLogger<SensorScheduler>.Instance);
        var parser = new SettingsParser(
            new Settings { Forwarding = new() { Sink = SinkKind.IotHub } }, hasIdentity: true, new(factory));
        _store = new(
            parser, new(new LogLevelSwitch(LogLevel.Information), _buffer, _forwarder, _scheduler), _buffer,
            NullLogger<SettingsStore>.Instance);
        await _store.StartAsync(null, Token);
        _reported = new(_hub, _clock, new Random(1), NullLogger<ReportedProperties>.Instance);
        await _reported.StartAsync(Token);
        _twin = new(_hub, _reported, _store, _clock, new Random(1), NullLogger<TwinSynchronizer>.Instance);
        await _twin.StartAsync(Token);
    }

    async Task StopAsync()
    {
        await _twin.StopAsync(CancellationToken.None);
        _twin.Dispose();
        await _reported.StopAsync(CancellationToken.None);
        _reported.Dispose();
        _store.Dispose();
        await _scheduler.StopAsync(CancellationToken.None);
        _scheduler.Dispose();
        _forwarder.Dispose();
        await _buffer.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _files.Dispose();
    }

    /// <summary>Reports are paced: the clock moves on until what is waited for has arrived.</summary>
    Task Reported(Func<bool> condition) => Until.True(condition, _clock, TimeSpan.FromSeconds(1));

    void Patch(long version, string patch) => _twin.Offer(version, Encoding.UTF8.GetBytes(patch));

    [Fact]
    public async Task The_whole_twin_is_taken_and_acknowledged_key_by_key()
    {
        _hub.SetDesired("""{"batchSize":5,"uploadIntervalSeconds":-1,"batchsize":1,"$version":4}""");
        await _twin.SynchronizeAsync(Token);

        await Reported(() => _hub.Patches.Count == 1);
        Assert.Equal(5, InForce.BatchSize);
        Assert.Equal("""{"value":5,"ac":200,"av":4}""", _hub.Reported["batchSize"]!.ToJsonString());
        Assert.Equal(
            """{"value":10,"ac":400,"av":4,"ad":"-1 is not allowed; allowed is a number from 0 to 86400"}""",
            _hub.Reported["uploadIntervalSeconds"]!.ToJsonString());
        Assert.Equal("""{"value":4,"ac":203,"av":0}""", _hub.Reported["maxInFlightBatches"]!.ToJsonString());
        Assert.Contains("did you mean batchSize?", (string)_hub.Reported["unknownSettings"]!, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_patch_changes_only_what_it_names_and_only_that_is_reported()
    {
        _hub.SetDesired("""{"batchSize":5,"compression":"gzip","$version":1}""");
        await _twin.SynchronizeAsync(Token);
        await Reported(() => _hub.Patches.Count == 1);
        var reports = _hub.Patches.Count;

        Patch(2, """{"batchSize":6,"$version":2}""");
        await Reported(() => _hub.Patches.Count == reports + 1);
        Assert.Equal((6, BatchCompression.Gzip), (InForce.BatchSize, InForce.Compression));
        Assert.Equal("""{"value":6,"ac":200,"av":2}""", _hub.Patches[^1]["batchSize"]!.ToJsonString());

        Patch(3, """{"batchSize":null,"$version":3}""");
        await Until.True(() => InForce.BatchSize == 50);
        Assert.Equal(BatchCompression.Gzip, InForce.Compression);
    }

    [Fact]
    public async Task Versions_that_come_twice_or_too_late_change_nothing_and_a_missing_one_asks_for_the_whole()
    {
        _hub.SetDesired("""{"batchSize":5,"$version":7}""");
        await _twin.SynchronizeAsync(Token);
        Patch(7, """{"batchSize":99}""");
        Patch(3, """{"batchSize":98}""");

        _hub.SetDesired("""{"batchSize":9,"maxInFlightBatches":2,"$version":10}""");
        Patch(10, """{"batchSize":97}"""); // 8 and 9 were lost, and one of them set maxInFlightBatches
        await Until.True(() => _twin.Version == 10);
        Assert.Equal((9, 2), (InForce.BatchSize, InForce.MaxInFlightBatches));
        Assert.Equal(2, _hub.Gets);
    }

    [Fact]
    public async Task A_patch_that_is_no_JSON_asks_for_the_whole()
    {
        _hub.SetDesired("""{"batchSize":5,"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        _hub.SetDesired("""{"batchSize":6,"$version":2}""");
        Patch(2, """{"batchSize":""");
        await Until.True(() => InForce.BatchSize == 6);
    }

    [Theory]
    [InlineData("""{"desired":{},"reported":{}}""")]
    [InlineData("""{"desired":[],"reported":{}}""")]
    [InlineData("nonsense")]
    [InlineData("")]
    public async Task What_an_edgeHub_says_that_does_not_know_the_twin_does_not_reset_anything(string answer)
    {
        _hub.SetDesired("""{"batchSize":5,"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        _hub.Twin = answer;
        await _twin.SynchronizeAsync(Token);
        Assert.Equal(5, InForce.BatchSize);
    }

    [Fact]
    public async Task The_last_good_settings_are_in_force_after_a_restart_without_network()
    {
        _hub.SetDesired("""{"batchSize":5,"uploadIntervalSeconds":3,"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        Patch(2, """{"uploadIntervalSeconds":"x"}""");
        await Until.True(() => _twin.Version == 2);
        await Until.True(() => _buffer.LoadDocument("settings.twin") is { } saved && Encoding.UTF8.GetString(saved.Span).Contains("\"x\"", StringComparison.Ordinal));

        await StopAsync();
        await StartAsync();
        Assert.Equal((5, TimeSpan.FromSeconds(3)), (InForce.BatchSize, InForce.UploadInterval));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(429)]
    [InlineData(500)]
    public async Task A_twin_that_the_hub_does_not_give_is_asked_for_again(int status)
    {
        for (var i = 0; i < 3; i++) _hub.GetStatuses.Enqueue(status);
        _hub.SetDesired("""{"batchSize":5,"$version":3}""");
        await _twin.SynchronizeAsync(Token);
        Assert.Equal(0, _twin.Version);
        await Reported(() => _twin.Version == 3);
        Assert.Equal((5, 4), (InForce.BatchSize, _hub.Gets));
    }

    [Fact]
    public async Task Nothing_is_reported_twice()
    {
        _hub.SetDesired("""{"batchSize":5,"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        await Reported(() => _hub.Patches.Count == 1);
        var reports = _hub.Patches.Count;
        await _twin.SynchronizeAsync(Token);
        Assert.Equal(reports, _hub.Patches.Count);
    }

    [Fact]
    public async Task The_file_stands_under_the_twin_key_by_key_and_sensor_by_sensor()
    {
        await _store.OfferFileAsync(
            JsonNode.Parse("""{"batchSize":3,"maxInFlightBatches":2,"sensors":{"a":{"kind":"host"},"b":{"kind":"host"}}}""")!.AsObject(), Token);
        _hub.SetDesired("""{"batchSize":5,"sensors":{"b":{"kind":"simulated"},"c":{"kind":"simulated"}},"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        Assert.Equal((5, 2), (InForce.BatchSize, InForce.MaxInFlightBatches));
        Assert.Equal(
            ["a host", "b simulated", "c simulated"],
            _store.Current!.Settings.Sensors.Values.Select(sensor => $"{sensor.Name} {sensor.Kind}").Order());
    }
}
