using System.Globalization;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Benchmarks.Buffer;

/// <summary>Bytes per reading: written to the device, and used on the volume. With ten sensors, one commit per second,
/// and delivery after ten seconds.</summary>
internal static class VolumeBenchmarks
{
    // Counting the device's bytes requires root. Without it, the process's bytes are counted, without file system
    // metadata.
    static readonly string Prefix = LoopVolume.IsAvailable ? "device" : "process";

    static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(10);
    static readonly TimeSpan Measured = TimeSpan.FromSeconds(120);
    static readonly TimeSpan SparseInterval = TimeSpan.FromSeconds(35);
    const int SparseReadings = 7;
    const int LogCommits = 1_500;

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(
            [
                .. ((string[])["1", "10", "100", "2000", "sparse"]).Select(rate => $"{Prefix}.bytesPerReading.{rate}"),
                .. ((string[])["1", "sparse"]).Select(rate => $"{Prefix}.bytesPerWrite.{rate}"),
            ],
            _ => WrittenAsync()),
        new(["volume.bytesPerReading"], _ => Task.Run<IReadOnlyList<BenchmarkRow>>(() => [OnVolume()])),
        new(["commit.otherPages"], _ => Task.Run<IReadOnlyList<BenchmarkRow>>(() => [OtherPages()])),
    ];

    // In real time, since the file system also writes periodically. All run in parallel, each on its own volume.
    static async Task<IReadOnlyList<BenchmarkRow>> WrittenAsync()
    {
        using var place = new Place();
        (int Rate, string Goal)[] rates =
        [
            (1, "<= 6000"), (10, "<= 700"), (100, "<= 150"), (2_000, "<= 40"),
        ];
        var measured = rates.Select(async rate => new BenchmarkRow(
            $"{Prefix}.bytesPerReading.{rate.Rate}", await WrittenAsync(place, rate.Rate, TimeSpan.FromSeconds(1), Measured), "B", rate.Goal));
        var sparse = WrittenAsync(place, 1, SparseInterval, SparseInterval * SparseReadings);
        var raw = RawAsync(place, TimeSpan.FromSeconds(1), Measured);
        var rawSparse = RawAsync(place, SparseInterval, SparseInterval * SparseReadings);
        return
        [
            .. await Task.WhenAll(measured),
            new($"{Prefix}.bytesPerReading.sparse", await sparse, "B", $"<= 10000, one every {SparseInterval.TotalSeconds:0} s"),
            new($"{Prefix}.bytesPerWrite.1", await raw, "B", "the lower bound: one page in a file of fixed length"),
            new($"{Prefix}.bytesPerWrite.sparse", await rawSparse, "B", $"every {SparseInterval.TotalSeconds:0} s"),
        ];
    }

    // The cost of a single synced write, which includes the file's time stamp in the file system's journal.
    static async Task<double> RawAsync(Place place, TimeSpan interval, TimeSpan within)
    {
        const int LogBytes = 2 << 20;
        using var volume = LoopVolume.IsAvailable ? new LoopVolume() : null;
        var files = new VolumeFiles(volume?.Directory ?? place.New(), observer: null);
        using var file = new FileStream(Path.Combine(files.Directory, "log"), FileMode.Create);
        file.Write(new byte[LogBytes]);
        file.Flush(flushToDisk: true);
        using var timer = new PeriodicTimer(interval, TimeProvider.System);
        await timer.WaitForNextTickAsync();
        var (before, writes) = (Written(), 0);
        for (var passed = TimeSpan.Zero; passed < within; passed += interval, writes++)
        {
            RandomAccess.Write(file.SafeFileHandle, new byte[Schema.PageBytes], writes * Schema.PageBytes);
            files.SyncData(file.Name, file.SafeFileHandle);
            await timer.WaitForNextTickAsync();
        }
        return (double)(Written() - before) / writes;

        long Written() => volume?.WrittenBytes() ?? Surroundings.WrittenBytes();
    }

    static async Task<double> WrittenAsync(Place place, int readings, TimeSpan interval, TimeSpan within)
    {
        using var volume = LoopVolume.IsAvailable ? new LoopVolume() : null;
        var limits = new BufferLimits();
        using var opened = new Opened(volume?.Directory ?? place.New(), limits, TimeProvider.System);
        var buffer = opened.Buffer;
        var (number, stored) = (0, new Queue<(DateTimeOffset At, long Id)>());

        // Fills the WAL to its final length, as after an hour of operation.
        buffer.ApplyLimits(limits with { CommitInterval = TimeSpan.Zero });
        for (var n = 0; n < LogCommits; n++)
            await buffer.EnqueueAsync(RoomSensors.Read(n, TimeProvider.System.GetUtcNow()), CancellationToken.None);
        buffer.ApplyLimits(limits);
        await StoreAsync(interval > WarmUp ? interval : WarmUp);
        var before = (Bytes: Written(), Readings: number);
        await StoreAsync(within);
        return (double)(Written() - before.Bytes) / (number - before.Readings);

        long Written() => volume?.WrittenBytes() ?? Surroundings.WrittenBytes();

        async Task StoreAsync(TimeSpan length)
        {
            using var timer = new PeriodicTimer(interval, TimeProvider.System);
            for (var passed = TimeSpan.Zero; passed < length; passed += interval)
            {
                var now = TimeProvider.System.GetUtcNow();
                while (stored.TryPeek(out var sent) && now - sent.At >= TimeSpan.FromSeconds(10))
                    _ = buffer.AcknowledgeAsync(IdSet.Of(1, stored.Dequeue().Id), CancellationToken.None);
                stored.Enqueue((now, buffer.LastCommittedId));
                for (var n = 0; n < readings; n++)
                    _ = buffer.EnqueueAsync(RoomSensors.Read(number++, now), CancellationToken.None).AsTask();
                await timer.WaitForNextTickAsync();
            }
        }
    }

    // An outage of several hours of fake time.
    static BenchmarkRow OnVolume()
    {
        using var opened = Outage("/dev/shm", seconds: 20_000);
        var status = opened.Opened.Buffer.GetStatus();
        return new(
            "volume.bytesPerReading", (double)status.UsedBytes / status.Stored, "B",
            string.Create(CultureInfo.InvariantCulture, $"<= 16, {status.Stored:#,0} readings waiting"));
    }

    // Until the WAL is restarted, it has one frame per written page. Nothing is merged in the first two minutes.
    static BenchmarkRow OtherPages()
    {
        const int Commits = 100;
        const int Noop = -1; // SQLITE_CHECKPOINT_NOOP: only reports the state of the WAL
        using var opened = Outage(Path.GetTempPath(), seconds: Commits);
        using var database = Sqlite.Open(Path.Combine(opened.Directory, "telemetry.db"), SqliteOpenMode.ReadOnly, vfs: null);
        database.Execute("SELECT count(*) FROM sqlite_schema");
        database.Checkpoint(Noop, out var frames);
        return new("commit.otherPages", ((double)frames / Commits) - 1, "", "<= 0.3, ten readings per commit");
    }

    static Outaged Outage(string root, int seconds)
    {
        var directory = Directory.CreateDirectory(Path.Combine(root, $"outage-{Guid.NewGuid():N}")).FullName;
        var time = new FakeTimeProvider(Opened.FirstTime);
        var opened = new Opened(directory, new BufferLimits { CommitInterval = TimeSpan.FromMinutes(1), MaxBytes = 4L << 30 }, time);
        for (var second = 0; second < seconds; second++)
        {
            var waiting = Enumerable.Range(second * RoomSensors.Count, RoomSensors.Count).Select(n =>
                opened.Buffer.EnqueueAsync(RoomSensors.Read(n, time.GetUtcNow()), CancellationToken.None).AsTask()).ToList();
            opened.Buffer.CommitAsync(CancellationToken.None).GetAwaiter().GetResult();
            Task.WhenAll(waiting).GetAwaiter().GetResult();
            time.Advance(TimeSpan.FromSeconds(1));
        }
        return new(opened, directory);
    }

    sealed record Outaged(Opened Opened, string Directory) : IDisposable
    {
        public void Dispose()
        {
            Opened.Dispose();
            System.IO.Directory.Delete(Directory, recursive: true);
        }
    }
}
