using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Operations;
using SensorForwarder.Tests.Support;
using SQLitePCL;

namespace SensorForwarder.Tests.Configuration;

/// <summary>Settings never wait for the volume, and after a power cut the saved documents are consistent.</summary>
public sealed class SettingsVolumeTests : IAsyncLifetime
{
    readonly FakeTimeProvider _clock = new();
    readonly FakeHub _hub = new();
    readonly Recorder _volume = new() { FailsOn = true };
    readonly SettingsFixture _parts;
    ReportedProperties _reported = null!;
    TwinSynchronizer _twin = null!;

    public SettingsVolumeTests() => _parts = new(inMemory: true) { Volume = _volume };

    static CancellationToken Token => TestContext.Current.CancellationToken;

    int BatchSize => _parts.Store.Current!.Settings.Forwarding.BatchSize;

    public async ValueTask InitializeAsync()
    {
        await _parts.StartAsync("""{"commitIntervalMs":0,"sensors":{}}""");
        _reported = new(_hub, _clock, new Random(1), NullLogger<ReportedProperties>.Instance);
        await _reported.StartAsync(Token);
        _twin = new(_hub, _reported, _parts.Store, _clock, new Random(1), NullLogger<TwinSynchronizer>.Instance);
        await _twin.StartAsync(Token);
    }

    public async ValueTask DisposeAsync()
    {
        _volume.FailKind = null;
        await _twin.StopAsync(CancellationToken.None);
        _twin.Dispose();
        await _reported.StopAsync(CancellationToken.None);
        _reported.Dispose();
        await _parts.DisposeAsync();
    }

    void Reject(int code) => (_volume.FailCode, _volume.FailKind, _volume.FailAt) = (code, FileOperationKind.Write, 1);

    Task Acknowledged(string key, string acknowledgement) =>
        Until.True(() => _hub.Reported[key]?.ToJsonString() == acknowledgement, _clock, TimeSpan.FromSeconds(1));

    static Task<ParsedSettings> OfferTwinAsync(SettingsStore store, string desired, long version) =>
        store.OfferTwinAsync(SettingsFixture.Parse(desired), version, Token);

    static Task<ParsedSettings> OfferFileAsync(SettingsStore store, string document) =>
        store.OfferFileAsync(SettingsFixture.Parse(document), Token);

    static JsonObject Saved(TelemetryBuffer buffer, string name) =>
        buffer.LoadDocument(name) is { } bytes ? SettingsFixture.Parse(Encoding.UTF8.GetString(bytes.Span)) : [];

    [Theory]
    [InlineData(raw.SQLITE_FULL)]
    [InlineData(raw.SQLITE_IOERR_WRITE)]
    [InlineData(raw.SQLITE_READONLY)]
    public async Task While_the_volume_rejects_writes_changes_are_applied_and_acknowledged_and_saved_later(int code)
    {
        Reject(code);
        _hub.SetDesired("""{"batchSize":5,"$version":1}""");
        await _twin.SynchronizeAsync(Token);
        await Acknowledged("batchSize", """{"value":5,"ac":200,"av":1}""");
        await Until.True(() => _parts.Buffer.GetStatus().Storage != StorageState.Ok);
        _twin.Offer(2, """{"batchSize":6,"$version":2}"""u8.ToArray());
        await Acknowledged("batchSize", """{"value":6,"ac":200,"av":2}""");
        await OfferFileAsync(_parts.Store, """{"commitIntervalMs":0,"sensors":{},"maxInFlightBatches":3}""");
        await Acknowledged("maxInFlightBatches", """{"value":3,"ac":200,"av":2}""");
        var preview = await _parts.Store.PreviewAsync(SettingsFixture.Parse("""{"batchSize":7}"""), Token);
        Assert.Equal(7, (int)preview.Accepted["batchSize"]!);

        _volume.FailKind = null;
        await Until.True(() => (int?)Saved(_parts.Buffer, "settings.accepted")["maxInFlightBatches"] == 3);
        await _parts.StopAsync();
        await _parts.StartAsync();
        Assert.Equal((6, 2), (BatchSize, _parts.Store.Current!.Version));
    }

    [Fact]
    public async Task While_the_volume_rejects_writes_a_start_applies_a_changed_settings_file()
    {
        Reject(raw.SQLITE_FULL);
        using var store = SettingsFixture.NewStore(_parts.Buffer, _parts.Forwarder, _parts.Scheduler);
        await store.StartAsync(SettingsFixture.Parse("""{"batchSize":9,"sensors":{}}"""), Token);
        Assert.Equal(9, store.Current!.Settings.Forwarding.BatchSize);
    }

    [Theory]
    [InlineData("retryDeadLetters")]
    [InlineData("purgeDeadLetters")]
    public async Task While_the_volume_rejects_writes_a_method_that_writes_fails_with_the_reason(string method)
    {
        var id = await _parts.Buffer.EnqueueAsync(BufferFixture.Reading(1), Token);
        await _parts.Buffer.DeadLetterAsync(id, "Rejected", answer: null, Token);
        Reject(raw.SQLITE_FULL);
        using var operations = new OperationParts(_parts, _clock);
        var methods = new DirectMethods(
            _parts.Buffer, _parts.Forwarder, _parts.Scheduler, _parts.Store, operations.Source, Module.SensorKinds, _clock);
        var answering = methods.InvokeAsync(method, ReadOnlyMemory<byte>.Empty, Token);
        await Until.True(() => _parts.Buffer.GetStatus().Storage == StorageState.Full);
        await Until.True(() => answering.IsCompleted, _clock, TimeSpan.FromSeconds(5));
        var answer = await answering;
        Assert.Equal(503, answer.Status);
        Assert.Contains("no room on the volume", Encoding.UTF8.GetString(answer.Body.Span), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_twin_that_arrives_before_the_settings_file_is_not_overwritten_by_the_saved_twin()
    {
        await OfferTwinAsync(_parts.Store, """{"batchSize":5,"maxInFlightBatches":2}""", 1);
        await _parts.StopAsync();
        await _parts.StartAsync();
        using var store = SettingsFixture.NewStore(_parts.Buffer, _parts.Forwarder, _parts.Scheduler);
        await OfferTwinAsync(store, """{"batchSize":6}""", 2);
        await store.StartAsync(SettingsFixture.Parse("""{"batchMaxBytes":4096,"sensors":{}}"""), Token);
        var inForce = store.Current!.Settings.Forwarding;
        Assert.Equal((6, 4, 4096), (inForce.BatchSize, inForce.MaxInFlightBatches, inForce.BatchMaxBytes));
        Assert.Equal(2, store.Current.Version);
    }

    [Fact]
    public async Task Saved_documents_of_earlier_versions_are_read()
    {
        const string Document =
            """{"batchSize":5,"sink":"http","httpEndpoint":"http://new/","settingsTrialMinutes":5}""";
        await SaveAsync("settings.accepted", Document);
        await SaveAsync("settings.twin", Document);
        await SaveAsync("settings.file", """{"sensors":{}}""");
        await SaveAsync("settings.trial", """{"before":{"httpEndpoint":"http://old/"},"keys":{"httpEndpoint":true}}""");
        using var store = SettingsFixture.NewStore(_parts.Buffer, _parts.Forwarder, _parts.Scheduler);
        await store.StartAsync(file: null, Token);
        Assert.Equal((5, 0), (store.Current!.Settings.Forwarding.BatchSize, store.Current.Version));
        Assert.Equal("http://old/", (string?)store.Trial!.Before["httpEndpoint"]);
        Assert.Equal(["httpEndpoint"], store.Trial.Keys);

        async Task SaveAsync(string name, string document) =>
            await _parts.Buffer.SaveDocumentAsync(name, Encoding.UTF8.GetBytes(document), Token);
    }

    /// <summary>Twins are accepted, put on trial and rolled back, repeatedly. After a power cut the documents are
    /// consistent: the change is in force and on trial, or rolled back and refused.</summary>
    [Fact]
    public async Task After_a_power_cut_all_saved_documents_are_consistent_with_each_other()
    {
        const string Base = """{"batchSize":10,"commitIntervalMs":0,"settingsTrialMinutes":5,"sensors":{}}""";
        var recorder = new Recorder { IsRecording = true };
        await using var parts = new SettingsFixture(inMemory: true) { Volume = recorder };
        await parts.StartAsync("{}");
        await OfferTwinAsync(parts.Store, Base, 1);
        await parts.Buffer.CommitAsync(Token);
        var begin = recorder.Log.Count;
        for (var version = 2; version < 12; version++)
        {
            parts.Store.IsForwarding = true;
            var desired = Base.Replace("10", $"{100 + version}", StringComparison.Ordinal);
            await OfferTwinAsync(parts.Store, desired, version);
            await parts.Buffer.CommitAsync(Token);
            await parts.Store.RollBackAsync(["batchSize"], parts.Store.Trial!.Before, "rolled back", Token);
            await parts.Buffer.CommitAsync(Token);
        }

        var log = recorder.Log;
        var states = new HashSet<(long Version, bool IsOnTrial)>();
        foreach (var fault in Enum.GetValues<CutFault>())
        {
            for (var at = begin; at < log.Count; at++)
            {
                if (log[at].Kind != FileOperationKind.Sync) continue;
                var disk = new CutDisk(new Random(at));
                foreach (var operation in log.Take(at)) disk.Play(operation);
                using var files = new BufferFixture(inMemory: true);
                disk.WriteImage(files.Directory, fault);
                await using var buffer = await files.OpenAsync();
                states.Add(Check(buffer));
            }
        }

        // The first and last state may not be among the images.
        for (var version = 3L; version < 11; version++)
        {
            Assert.Contains((version, true), states);
            Assert.Contains((version, false), states);
        }

        static (long Version, bool IsOnTrial) Check(TelemetryBuffer buffer)
        {
            var twin = Saved(buffer, "settings.twin");
            var (version, accepted) = ((long)twin["$version"]!, (int)Saved(buffer, "settings.accepted")["batchSize"]!);
            var onTrial = (int?)Saved(buffer, "settings.trial")["before"]?["batchSize"];
            var rolledBack = (int?)Saved(buffer, "settings.rolledBack")["values"]?["batchSize"];
            var changed = version == 1 ? 10 : 100 + (int)version;
            Assert.Equal(changed, (int)twin["batchSize"]!);
            if (onTrial is not null) Assert.Equal((changed, 10, (int?)null), (accepted, onTrial, rolledBack));
            else Assert.Equal((10, version == 1 ? null : changed), (accepted, rolledBack));
            return (version, onTrial is not null);
        }
    }
}
