using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations;
using SensorForwarder.Operations.CommandLine;
using SensorForwarder.Operations.Status;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Forwarding;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Operations;

/// <summary>The forecasts of when the buffer is full and when everything is sent, compared with what happens.</summary>
public sealed class QueueForecastTests
{
    const int Megabytes = 32;

    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static double? Full(JsonNode of) => (double?)of["fullInSeconds"];

    static double? Drained(JsonNode of) => (double?)of["drainedInSeconds"];

    [Theory]
    [InlineData(2, 800, Explicit = true)]
    [InlineData(30, 200, Explicit = true)]
    public async Task The_time_until_the_buffer_is_full_is_forecast_and_rather_too_short(int values, int perSecond)
    {
        await using var fixture = await ForwarderFixture.StartAsync(http: new FakeSink());
        using var scheduler = new SensorScheduler(
            new(new("/proc", "/sys", Path.GetTempPath()), fixture.Clock), fixture.Buffer, fixture.Clock, new Random(1), NullLogger<SensorScheduler>.Instance);
        using var store = SettingsFixture.NewStore(fixture.Buffer, fixture.Forwarder, scheduler);
        await store.OfferTwinAsync(SettingsFixture.Parse($$"""{"bufferMaxMegabytes":{{Megabytes}},"whenFull":"dropOldest","commitIntervalMs":0,"sensors":{ } }"""), 1, Token);
        using var parts = new OperationParts(fixture.Buffer, fixture.Forwarder, scheduler, store, fixture.Clock);

        // The receiver accepts nothing, while readings are enqueued each second of the fake clock.
        var reading = BufferFixture.Reading(1) with { Values = [.. Enumerable.Range(0, values).Select(n => KeyValuePair.Create($"value{n}", 20.25 + n))] };
        (double Seconds, double At)? foretold = null;
        var second = 0;
        for (; fixture.Buffer.GetStatus().Evicted.Count == 0; second++)
        {
            Assert.True(second < 3_600, "the buffer did not become full");
            await Task.WhenAll(Enumerable.Range(0, perSecond).Select(_ => fixture.Buffer.EnqueueAsync(reading with { Label = BufferFixture.Incompressible(1).Label }, Token).AsTask()));
            fixture.Clock.Advance(Second);
            parts.Trends.Look();
            if (second < 3) Assert.Null(Full(parts.ReadStatus()["forecast"]!)); // no trend yet
            if (foretold is not null || second < 60) continue;
            foretold = (Full(parts.ReadStatus()["forecast"]!)!.Value, second);
            Assert.Equal(foretold.Value.Seconds, Full(parts.ReadPage()["queue"]!));
            Assert.Null(Drained(parts.ReadStatus()["forecast"]!));
            Assert.Contains("full in about ", StatusPage.Write(parts.ReadStatus().AsObject()), StringComparison.Ordinal);
        }

        var came = second - foretold!.Value.At;
        TestContext.Current.TestOutputHelper?.WriteLine($"forecast {foretold.Value.Seconds:0} s, full after {came:0} s");
        // Merged readings need less space.
        Assert.InRange(foretold.Value.Seconds / came, 0.7, 1.1);
    }

    [Fact]
    public async Task The_time_until_every_reading_is_sent_is_forecast()
    {
        const int BatchesPerSecond = 4;
        const int NewPerSecond = 10;
        var sink = new FakeSink();
        await using var fixture = await ForwarderFixture.StartAsync(http: sink, settings: new() { BatchSize = 25, UploadInterval = TimeSpan.Zero });
        using var scheduler = new SensorScheduler(
            new(new("/proc", "/sys", Path.GetTempPath()), fixture.Clock), fixture.Buffer, fixture.Clock, new Random(1), NullLogger<SensorScheduler>.Instance);
        using var store = SettingsFixture.NewStore(fixture.Buffer, fixture.Forwarder, scheduler);
        using var parts = new OperationParts(fixture.Buffer, fixture.Forwarder, scheduler, store, fixture.Clock);
        const int Backlog = 9_000;
        await fixture.StoreAsync(Backlog);
        await fixture.RunAsync();

        // 100 readings a second are sent and 10 are enqueued: the queue shrinks by 90 a second and is empty after 100 seconds.
        (await fixture.NextAfterBackoffAsync(sink)).Accept(); // the probe has ten readings
        var seconds = new List<(double Foretold, int At)>();
        for (var second = 0; second < 70; second++)
        {
            for (var i = 0; i < BatchesPerSecond; i++) (await sink.NextAsync()).Accept();
            await fixture.StoreAsync(NewPerSecond, from: Backlog + 1 + (second * NewPerSecond));
            await fixture.UntilDepthAsync(Backlog - 10 - (90 * (second + 1)));
            await Until.True(() => fixture.Forwarder.Status.Readings == 10 + (100 * (second + 1)));
            fixture.Clock.Advance(Second);
            parts.Trends.Look();
            if (second < 10) continue;
            var forecast = parts.ReadStatus()["forecast"]!;
            Assert.Null(Full(forecast));
            seconds.Add((Drained(forecast)!.Value, second));
        }

        Assert.Equal(Drained(parts.ReadStatus()["forecast"]!), Drained(parts.ReadPage()["queue"]!));
        Assert.All(seconds, told => Assert.Equal(99 - told.At, told.Foretold, 1.5));
    }

    [Fact]
    public void A_growing_queue_has_a_forecast_only_while_the_link_is_down()
    {
        var stored = Stored(readings: 1_000);
        Assert.Equal(default, QueueForecast.Of(stored, (5, 0, 5), isUp: true));
        Assert.Equal(default, QueueForecast.Of(stored, (0.005, 0, 0.005), isUp: false));

        // 100 bytes each, of 29,818,880 bytes of the 32 MB.
        Assert.Equal(new(59_438, null), QueueForecast.Of(stored, (5, 0, 5), isUp: false));

        // Right after a start the size of a row is unknown.
        Assert.Equal(default, QueueForecast.Of(Stored(readings: 0), (5, 0, 5), isUp: false));
    }

    [Fact]
    public void Only_readings_that_the_receiver_accepts_count_as_sent_in_the_forecast()
    {
        var stored = Stored(readings: 1_000) with { Depth = 4_000 };
        Assert.Equal(new(null, 800), QueueForecast.Of(stored, (-5, 7, 2), isUp: true));

        // Without a link a full or aged queue shrinks too, by evictions.
        Assert.Equal(default, QueueForecast.Of(stored, (-5, 0, 2), isUp: false));
        Assert.Equal(default, QueueForecast.Of(stored, (-5, 0, 2), isUp: true));
        Assert.Equal(default, QueueForecast.Of(stored, (-5, 7, 2), isUp: false));

        // Of evictions and sends, only the sends continue until the queue is empty.
        Assert.Equal(new(null, 4_000), QueueForecast.Of(stored, (-50, 3, 2), isUp: true));

        // A full buffer has no forecast of when it is full.
        Assert.Equal(default, QueueForecast.Of(stored with { FullAction = WhenFull.Thin }, (5, 0, 5), isUp: false));
    }

    [Fact]
    public async Task The_forecast_uses_the_room_on_the_volume_if_it_is_less_than_the_setting_allows()
    {
        // 33 rows in a page, and 7,405,568 bytes of the 8 MB for pages.
        Assert.Equal(new(14_611, null), QueueForecast.Of(Stored(readings: 1_000) with { MaxBytes = 8 << 20 }, (5, 0, 5), isUp: false));

        await using var module = new SettingsFixture(inMemory: true);
        using var volume = TmpfsVolume.TryMount(module.Directory, megabytes: 16, out var refusal);
        Assert.SkipWhen(volume is null, $"a file system of its own can't be mounted here, run as root for that: {refusal}");
        await module.StartAsync("""{"sink":"http","httpEndpoint":"http://localhost/","bufferMaxMegabytes":512,"sensors":{ } }""");
        using (var parts = new OperationParts(module, TimeProvider.System)) Assert.InRange((long)parts.ReadPage()["queue"]!["maxBytes"]!, 15 << 20, 16 << 20);

        await File.WriteAllBytesAsync(Path.Combine(module.Directory, "ballast"), new byte[8 << 20], Token);
        using (var parts = new OperationParts(module, TimeProvider.System))
        {
            var queue = parts.ReadPage()["queue"]!;
            Assert.InRange((long)queue["maxBytes"]!, (long)queue["fileBytes"]!, 8 << 20);
        }

        await module.StopAsync();
    }

    /// <summary>400 readings wait; each committed one has 100 bytes.</summary>
    static BufferStatus Stored(long readings) => new()
    {
        Depth = 400,
        InMemory = 0,
        OldestRecordedAt = null,
        OldestAge = null,
        FileBytes = 0,
        MaxBytes = Megabytes << 20,
        WalBytes = 0,
        UsedBytes = 100 * readings,
        Stored = readings,
        Storage = StorageState.Ok,
        StorageReason = null,
        FullAction = null,
        ClockSynchronized = true,
        Evicted = [],
        DeadLetters = 0,
        DeadLettered = 0,
        Salvage = null,
        Commits = 1,
        CommittedReadings = readings,
        CommittedBytes = 100 * readings,
        WriteFailures = 0,
    };
}
