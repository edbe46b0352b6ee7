using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Time;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Buffer;

/// <summary>Throughput, wear, start-up time and memory of the buffer, compared with two well-known designs
/// (<see cref="Contenders"/>). Runs on a real file system, since fsync dominates.</summary>
internal static class BufferBenchmarks
{
    const int Producers = 8;
    const int Outstanding = 1_000;

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        Make(Enqueue, "enqueue.readingsPerSecond", "enqueue.vsNaive", "enqueue.vsCeiling", "enqueue.serial.vsNaive"),
        Make(Wear, "wear.trickle.bytesPerReading", "wear.trickle.vsNaive", "wear.retained.vsTrickle", "wear.burst.vsPayload"),
        Make(Drain, "drain.readingsPerSecond", "drain.10M.vs10k"),
        Make(Open, "open.12M.seconds", "open.12M.damaged.seconds", "salvage.12M.seconds"),
        Make(Memory, "buffer.megabytesPerMillionReadings"),
    ];

    static Benchmark Make(Func<IEnumerable<BenchmarkRow>> run, params string[] names) =>
        new(names, _ => Task.Run<IReadOnlyList<BenchmarkRow>>(() => [.. run()]));

    // In short alternating turns, so that other load on the machine affects all alike. The first turn is a warm-up.
    static IEnumerable<BenchmarkRow> Enqueue()
    {
        using var place = new Place();
        var turns = Enumerable.Range(0, 6).Select(_ => (
            Naive: Contenders.NaivePerSecond(place.New(), readings: 300),
            Ceiling: Contenders.BulkPerSecond(place.New(), readings: 400_000),
            Serial: SerialPerSecond(place.New(), readings: 1_000),
            Many: ManyPerSecond(place.New(), rounds: 40))).Skip(1).ToList();
        var (naive, ceiling) = (Median(turns.Select(t => t.Naive)), Median(turns.Select(t => t.Ceiling)));
        yield return new("enqueue.readingsPerSecond", Median(turns.Select(t => t.Many)), "1/s", $"naive {naive:F0}/s, bulk {ceiling:F0}/s");
        yield return new("enqueue.vsNaive", Median(turns.Select(t => t.Many / t.Naive)), "x", ">= 100");
        yield return new("enqueue.vsCeiling", Median(turns.Select(t => t.Many / t.Ceiling)), "x", ">= 0.5");
        yield return new("enqueue.serial.vsNaive", Median(turns.Select(t => t.Serial / t.Naive)), "x", ">= 1");
    }

    static IEnumerable<BenchmarkRow> Wear()
    {
        using var place = new Place();
        var naive = Contenders.NaiveBytesPerReading(place.New(), readings: 500);
        var trickle = TrickleBytesPerReading(place.New(), seconds: 600);
        yield return new("wear.trickle.bytesPerReading", trickle, "B", $"naive {naive:F0} B");
        yield return new("wear.trickle.vsNaive", trickle / naive, "x", "<= 0.05");
        var retained = TrickleBytesPerReading(place.New(), seconds: 900, TimeSpan.FromSeconds(300));
        yield return new("wear.retained.vsTrickle", retained / trickle, "x", "delivered ones retained, 300 of 900 s");
        yield return new("wear.burst.vsPayload", BurstBytesPerPayload(place.New(), rounds: 100), "x", "<= 3");
    }

    static IEnumerable<BenchmarkRow> Drain()
    {
        using var place = new Place();
        // The first short run is a warm-up.
        var small = Median(Enumerable.Range(0, 20).Select(_ => DrainCost(place.New(), backlog: 10_000, readings: 10_000)).Skip(1));
        var large = DrainCost(place.New(), backlog: 10_000_000, readings: 1_000_000);
        yield return new("drain.readingsPerSecond", 1 / large, "1/s", ">= 200000, with 10,000,000 waiting");
        yield return new("drain.10M.vs10k", large / small, "x", "<= 1.3");
    }

    static IEnumerable<BenchmarkRow> Open()
    {
        using var place = new Place();
        var directory = place.New();
        Opened.MakeBacklog(directory, Backlog12M, leavesLog: true);
        var database = Path.Combine(directory, "telemetry.db");
        var size = new FileInfo(database).Length;
        yield return new("open.12M.seconds", SecondsToFirstEnqueue(directory).First(), "s", $"<= 2, {size / 1e9:F1} GB");

        // Damages a root page and a page of readings: new readings are accepted immediately while the old ones are
        // salvaged.
        using (var file = File.OpenHandle(database, FileMode.Open, FileAccess.Write))
        {
            RandomAccess.Write(file, new byte[1024], 0);
            RandomAccess.Write(file, new byte[1024], size / 2048 * 1024);
        }
        var seconds = SecondsToFirstEnqueue(directory).ToList();
        yield return new("open.12M.damaged.seconds", seconds[0], "s", "the same file with two pages zeroed");
        yield return new("salvage.12M.seconds", seconds[1], "s", "until all readings are salvaged");
    }

    const int Backlog12M = 12_000_000;

    /// <returns>Seconds until the first enqueue has completed; for a damaged file also until its readings are
    /// salvaged.</returns>
    static IEnumerable<double> SecondsToFirstEnqueue(string directory)
    {
        var clock = Stopwatch.StartNew();
        using var buffer = new Opened(directory);
        buffer.Enqueue(1).AsTask().GetAwaiter().GetResult();
        yield return clock.Elapsed.TotalSeconds;
        if (buffer.Buffer.GetStatus().Salvage is not { IsComplete: false })
            yield break;
        using var back = new ManualResetEventSlim();
        buffer.Buffer.ReadingsReturned += back.Set;
        if (buffer.Buffer.GetStatus().Salvage is { IsComplete: false })
            back.Wait();
        var salvage = buffer.Buffer.GetStatus().Salvage!;
        if (salvage.Readings < Backlog12M - 100)
            throw new InvalidOperationException($"only {salvage.Readings} readings were salvaged");
        yield return clock.Elapsed.TotalSeconds;
    }

    // After the first million readings all caches are full, so further growth is due to the backlog.
    static IEnumerable<BenchmarkRow> Memory()
    {
        using var place = new Place();
        using var buffer = new Opened(place.New());
        Fill(buffer, readings: 1_000_000);
        var before = Resident();
        Fill(buffer, readings: 9_000_000);
        yield return new("buffer.megabytesPerMillionReadings", (Resident() - before) / 9 / 1e6, "MB", "about 0, from 1 to 10 million");
    }

    static double SerialPerSecond(string directory, int readings)
    {
        using var buffer = new Opened(directory);
        var clock = Stopwatch.StartNew();
        Task.Run(async () =>
        {
            for (var i = 0; i < readings; i++)
                await buffer.Enqueue(i);
        }).GetAwaiter().GetResult();
        return readings / clock.Elapsed.TotalSeconds;
    }

    static double ManyPerSecond(string directory, int rounds)
    {
        using var buffer = new Opened(directory);
        Rounds(buffer, rounds: 5);
        var clock = Stopwatch.StartNew();
        Rounds(buffer, rounds);
        return (double)Producers * Outstanding * rounds / clock.Elapsed.TotalSeconds;
    }

    static void Fill(Opened buffer, int readings) => Rounds(buffer, readings / Producers / Outstanding);

    static void Rounds(Opened buffer, int rounds) =>
        Task.WhenAll(Enumerable.Range(0, Producers).Select(_ => Task.Run(async () =>
        {
            var waiting = new ValueTask<long>[Outstanding];
            for (var round = 0; round < rounds; round++)
            {
#pragma warning disable CA2012 // Each is awaited once, below: the benchmark needs many outstanding calls.
                for (var i = 0; i < waiting.Length; i++)
                    waiting[i] = buffer.Enqueue(i);
#pragma warning restore CA2012
                foreach (var task in waiting)
                    await task;
            }
        }))).GetAwaiter().GetResult();

    // Ten readings per second of fake time, delivered every ten seconds, as in the module.
    static double TrickleBytesPerReading(string directory, int seconds, TimeSpan retain = default)
    {
        var time = new FakeTimeProvider(Opened.FirstTime);
        long before;
        // The commit interval is longer than the loop's steps: the loop commits once per second of fake time.
        using (var buffer = new Opened(directory, new BufferLimits { CommitInterval = TimeSpan.FromMinutes(1), RetainForwarded = retain }, time))
        {
            // Excludes the one-time cost of a new file: the tables, and the reserve for a full volume.
            buffer.Buffer.CommitAsync(CancellationToken.None).GetAwaiter().GetResult();
            before = WrittenBytes();
            for (var second = 0; second < seconds; second++)
            {
                var waiting = Enumerable.Range(0, 10).Select(_ => buffer.Enqueue(second).AsTask()).ToList();
                if (second % 10 == 9)
                    _ = buffer.Buffer.AcknowledgeAsync(IdSet.Of(1, buffer.Buffer.LastCommittedId), CancellationToken.None);
                buffer.Buffer.CommitAsync(CancellationToken.None).GetAwaiter().GetResult();
                Task.WhenAll(waiting).GetAwaiter().GetResult();
                time.Advance(TimeSpan.FromSeconds(1));
            }
        }
        return (WrittenBytes() - before) / (seconds * 10.0);
    }

    static double BurstBytesPerPayload(string directory, int rounds)
    {
        var before = WrittenBytes();
        long payload;
        using (var buffer = new Opened(directory))
        {
            Rounds(buffer, rounds);
            payload = buffer.Buffer.GetStatus().CommittedBytes;
            Drained(buffer, int.MaxValue);
        }
        return (double)(WrittenBytes() - before) / payload;
    }

    // Seconds per reading for peek and acknowledge in batches of 500.
    static double DrainCost(string directory, int backlog, int readings)
    {
        Opened.MakeBacklog(directory, backlog);
        using var buffer = new Opened(directory);
        var clock = Stopwatch.StartNew();
        var drained = Drained(buffer, readings);
        buffer.Buffer.CommitAsync(CancellationToken.None).GetAwaiter().GetResult();
        return clock.Elapsed.TotalSeconds / drained;
    }

    static int Drained(Opened buffer, int readings)
    {
        var drained = 0;
        var after = 0L;
        while (drained < readings && buffer.Buffer.PeekBatch(after, 500, 1 << 20) is { Count: > 0 } batch)
        {
            after = batch[^1].Id;
            drained += batch.Count;
            _ = buffer.Buffer.AcknowledgeAsync(IdSet.Of(batch[0].Id, after), CancellationToken.None);
        }
        return drained;
    }

    static double Resident()
    {
        GC.Collect();
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }
}

/// <summary>An open buffer for a benchmark.</summary>
internal sealed class Opened : IDisposable
{
    readonly Reading[] _readings;

    /// <summary>The time of reading 0. Each further reading is one second later.</summary>
    public static readonly DateTimeOffset FirstTime = DateTimeOffset.UnixEpoch.AddSeconds(1_900_000_000);

    public Opened(string directory, TimeSpan commitInterval = default)
        : this(directory, new BufferLimits { CommitInterval = commitInterval, MaxBytes = 8L << 30 }, TimeProvider.System)
    {
    }

    public Opened(string directory, BufferLimits limits, TimeProvider timeProvider)
    {
        // 150 bytes of payload.
        _readings = [.. Enumerable.Range(0, 1_000).Select(i => new Reading
        {
            Sensor = "attic",
            Kind = "bme280",
            Time = FirstTime.AddSeconds(i),
            Values = [new("temperature", 20 + (i / 100.0)), new("humidity", 41.25), new("pressure", 1013.25)],
        })];
        Buffer = TelemetryBuffer.OpenAsync(
            new BufferOptions
            {
                Directory = directory,
                Limits = limits,
                KernelTime = timeProvider == TimeProvider.System ? () => LinuxClocks.Read() with { Synchronized = true } : null,
            },
            timeProvider, NullLogger<TelemetryBuffer>.Instance, CancellationToken.None).GetAwaiter().GetResult();
    }

    public TelemetryBuffer Buffer { get; }

    public ValueTask<long> Enqueue(int number) =>
        Buffer.EnqueueAsync(_readings[number % _readings.Length], CancellationToken.None);

    /// <summary>Fills a buffer's file with waiting readings.</summary>
    /// <param name="leavesLog">Leaves a WAL without checkpoint, as after a crash.</param>
    public static void MakeBacklog(string directory, int readings, bool leavesLog = false)
    {
        var log = Path.Combine(directory, "telemetry.db-wal");
        using (var opened = new Opened(directory))
        {
            for (var stored = 0; stored < readings; stored += Piece)
            {
                var piece = Enumerable.Range(stored, Math.Min(Piece, readings - stored));
                Task.WhenAll(piece.Select(n => opened.Enqueue(n).AsTask())).GetAwaiter().GetResult();
            }
            if (leavesLog)
                File.Copy(log, log + ".kept");
        }
        if (leavesLog)
            File.Move(log + ".kept", log, overwrite: true);
    }

    const int Piece = 10_000;

    public void Dispose() => Buffer.DisposeAsync().AsTask().GetAwaiter().GetResult();
}

/// <summary>Temporary directories for benchmarks.</summary>
internal sealed class Place : IDisposable
{
    readonly string _root = Directory.CreateTempSubdirectory("buffer-benchmark-").FullName;
    int _count;

    public string New() => Directory.CreateDirectory(Path.Combine(_root, $"{++_count}")).FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);
}
