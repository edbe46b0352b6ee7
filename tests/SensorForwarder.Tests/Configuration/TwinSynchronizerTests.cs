using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Configuration;

public sealed class TwinSynchronizerTests : IAsyncLifetime
{
    readonly FakeHub _hub = new();
    readonly FakeTimeProvider _clock = new();
    readonly SettingsFixture _parts = new();
    ReportedProperties _reported = null!;
    TwinSynchronizer _twin = null!;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    SettingsStore Store => _parts.Store;

    ForwardingSettings InForce => Store.Current!.Settings.Forwarding;

    public ValueTask InitializeAsync() => StartAsync();

    async ValueTask StartAsync()
    {
        await _parts.StartAsync();
        _reported = new(_hub, _clock, new Random(1), NullLogger<ReportedProperties>.Instance);
        await _reported.StartAsync(Token);
        _twin = new(_hub, _reported, Store, _clock, new Random(1), NullLogger<TwinSynchronizer>.Instance);
        await _twin.StartAsync(Token);
    }

    async Task StopAsync()
    {
        await _twin.StopAsync(CancellationToken.None);
        _twin.Dispose();
        await _reported.StopAsync(CancellationToken.None);
        _reported.Dispose();
        await _parts.StopAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        await _parts.DisposeAsync();
    }

    /// <summary>Advances the clock until the condition holds, since reports are rate-limited.</summary>
    Task Reported(Func<bool> condition) => Until.True(condition, _clock, TimeSpan.FromSeconds(1));

    void Patch(long version, string patch) => _twin.Offer(version, Encoding.UTF8.GetBytes(patch));

    [Fact]
    public async Task The_full_twin_is_applied_and_acknowledged_key_by_key()
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
    public async Task A_patch_changes_and_reports_only_the_keys_that_it_names()
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
    public async Task Duplicate_and_outdated_versions_are_ignored_and_a_missing_one_makes_the_module_get_the_full_twin()
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
    public async Task A_patch_that_is_not_valid_JSON_makes_the_module_get_the_full_twin()
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
    public async Task An_answer_from_an_edgeHub_that_does_not_have_the_twin_resets_nothing(string answer)
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
        await Until.True(() => _parts.Buffer.LoadDocument("settings.twin") is { } saved && Encoding.UTF8.GetString(saved.Span).Contains("\"x\"", StringComparison.Ordinal));

        await StopAsync();
        await StartAsync();
        Assert.Equal((5, TimeSpan.FromSeconds(3)), (InForce.BatchSize, InForce.UploadInterval));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(429)]
    [InlineData(500)]
    public async Task A_failed_get_of_the_twin_is_retried(int status)
    {
        for (var i = 0; i < 3; i++) _hub.GetStatuses.Enqueue(status);
        _hub.SetDesired("""{"batchSize":5,"$version":3}""");
        await _twin.SynchronizeAsync(Token);
        Assert.Equal(0, _twin.Version);
        await Reported(() => _twin.Version == 3);
        Assert.Equal((5, 4), (InForce.BatchSize, _hub.Gets));
    }

    [Fact]
    public async Task Patches_and_reports_do_not_wait_for_a_get_that_is_backing_off()
    {
        _hub.SetDesired("""{"batchSize":5,"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        await Reported(() => _hub.Patches.Count == 1);
        for (var i = 0; i < 100; i++) _hub.GetStatuses.Enqueue(429);
        Patch(9, """{"batchSize":97}"""); // an earlier patch is missing
        await Reported(() => _hub.Gets == 8);

        // The next get is now minutes away.
        Patch(2, """{"batchSize":6}""");
        await Reported(() => _hub.Reported["batchSize"]?.ToJsonString() == """{"value":6,"ac":200,"av":2}""");
        await Store.OfferFileAsync(SettingsFixture.Parse("""{"maxInFlightBatches":2}"""), Token);
        await Reported(() => _hub.Reported["maxInFlightBatches"]?.ToJsonString() == """{"value":2,"ac":200,"av":2}""");
        Patch(9, """{"batchSize":97}""");
        Patch(3, """{"batchSize":7}""");
        await Until.True(() => InForce.BatchSize == 7);
        Assert.Equal(8, _hub.Gets);
    }

    [Fact]
    public async Task A_get_that_was_cancelled_with_the_connection_is_retried()
    {
        _hub.GetStatuses.Enqueue(-1);
        _hub.SetDesired("""{"batchSize":5,"$version":3}""");
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var synchronizing = _twin.SynchronizeAsync(patience.Token);
        await Until.True(() => _hub.Gets == 1);
        await patience.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => synchronizing);
        await Reported(() => _twin.Version == 3);
    }

    [Fact]
    public async Task An_unchanged_twin_is_not_reported_again()
    {
        _hub.SetDesired("""{"batchSize":5,"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        await Reported(() => _hub.Patches.Count == 1);
        var reports = _hub.Patches.Count;
        await _twin.SynchronizeAsync(Token);
        Assert.Equal(reports, _hub.Patches.Count);
    }

    [Fact]
    public async Task The_twin_overrides_the_settings_file_key_by_key_and_sensor_by_sensor()
    {
        await Store.OfferFileAsync(
            JsonNode.Parse("""{"batchSize":3,"maxInFlightBatches":2,"sensors":{"a":{"kind":"host"},"b":{"kind":"host"}}}""")!.AsObject(), Token);
        _hub.SetDesired("""{"batchSize":5,"sensors":{"b":{"kind":"simulated"},"c":{"kind":"simulated"}},"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        Assert.Equal((5, 2), (InForce.BatchSize, InForce.MaxInFlightBatches));
        Assert.Equal(
            ["a host", "b simulated", "c simulated"],
            Store.Current!.Settings.Sensors.Values.Select(sensor => $"{sensor.Name} {sensor.Kind.Name}").Order());
    }

    [Fact]
    public async Task Changes_by_the_settings_file_and_rollbacks_by_a_trial_are_also_acknowledged()
    {
        _hub.SetDesired("""{"batchSize":5,"$version":3}""");
        await _twin.SynchronizeAsync(Token);
        await Store.OfferFileAsync(SettingsFixture.Parse("""{"maxInFlightBatches":2}"""), Token);
        await Reported(() => _hub.Reported["maxInFlightBatches"]?.ToJsonString() == """{"value":2,"ac":200,"av":3}""");

        await Store.RollBackAsync(["batchSize"], [], "rolled back", Token);
        await Reported(() => _hub.Reported["batchSize"]?.ToJsonString() == """{"value":50,"ac":400,"av":3,"ad":"rolled back"}""");
        Assert.Equal(50, InForce.BatchSize);
    }

    [Fact]
    public async Task An_outdated_error_and_a_removed_sensor_are_removed_from_the_reported_properties()
    {
        _hub.SetDesired("""{"batchSize":0,"batchsize":1,"sensors":{"a":{"kind":"simulated","seed":1},"b":{"kind":"host"}},"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        await Reported(() => _hub.Reported["batchSize"]?["ad"] is not null);
        _hub.SetDesired("""{"batchSize":8,"sensors":{"a":{"kind":"simulated"}},"$version":2}""");
        await _twin.SynchronizeAsync(Token);
        await Reported(() => _hub.Reported["batchSize"]?.ToJsonString() == """{"value":8,"ac":200,"av":2}""");
        Assert.Equal("""{"value":{"a":{"kind":"simulated"}},"ac":200,"av":2}""", _hub.Reported["sensors"]!.ToJsonString());
        Assert.Null(_hub.Reported["unknownSettings"]);
    }

    [Theory]
    [InlineData("""{"a":{"kind":"simulated","no te":1}}""")]
    [InlineData("""{"a":{"kind":"simulated","note":[null]}}""")]
    [InlineData("""{"a":{"kind":"simulated","note":9007199254740993}}""")]
    public async Task A_value_that_IoT_Hub_would_reject_is_acknowledged_without_the_value(string sensors)
    {
        await Store.OfferFileAsync(SettingsFixture.Parse($$"""{"sensors":{{sensors}}}"""), Token);
        _hub.SetDesired("""{"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        await Reported(() => _hub.Patches.Count > 0);
        Assert.All(_hub.Patches, patch => Assert.Null(EdgeSimulator.Twins.ReportedProperties.Objection(patch)));
        Assert.NotNull(_hub.Reported["sensors"]!["ac"]);
    }

    [Fact]
    public async Task Default_values_are_reported_once()
    {
        _hub.SetDesired("""{"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        await Reported(() => _hub.Patches.Count == 1);
        Assert.All(_hub.Patches[0], pair => Assert.Equal((203, 0), ((int)pair.Value!["ac"]!, (int)pair.Value["av"]!)));
        _hub.SetDesired("""{"batchSize":7,"$version":2}""");
        await _twin.SynchronizeAsync(Token);
        await Reported(() => _hub.Patches.Count == 2);
        Assert.Equal(["batchSize"], _hub.Patches[1].Select(pair => pair.Key));
    }
}
