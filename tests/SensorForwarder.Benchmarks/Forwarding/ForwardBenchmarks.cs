using System.Diagnostics;
using System.Globalization;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Benchmarks.EdgeHub;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Tests.Support;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>Throughput and memory when a backlog drains to receivers that only count, latency of a single reading, and
/// bytes on the wire. <c>BENCHMARK_BACKLOG</c> is the large backlog of <c>forward.10M.vs1M</c> (default 10,000,000; at
/// least 3,000,000).</summary>
internal static class ForwardBenchmarks
{
    const int Turns = 3;
    const int ChunkBytes = 4_096;

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(["forward.http.readingsPerSecond", "forward.http.microsecondsPerReading", "forward.megabytesOverIdle", "forward.10M.vs1M"], HttpAsync),
        new(["forward.mqtt.readingsPerSecond", "forward.mqtt.microsecondsPerReading", "forward.mqtt.megabytesOverIdle"], MqttAsync),
        new(["forward.latencyMilliseconds", "forward.http.latencyMilliseconds"], LatencyAsync),
        new(["wire.readingsPer4KB", "wire.bytesPerReading", "wire.bytesPerReading.gzip"], WireAsync),
        new(
            ["wire.gzip.readingsPer4KB", "wire.gzip.readingsPer4KB.1000", "wire.gzip.microsecondsPerReading", "wire.gzip.microsecondsPerReading.1000"],
            WireGzipAsync),
    ];

    static async Task<IReadOnlyList<BenchmarkRow>> HttpAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        var most = int.Parse(Environment.GetEnvironmentVariable("BENCHMARK_BACKLOG") ?? "10000000", CultureInfo.InvariantCulture);
        most = Math.Max(most, Turns * Drain.Backlog);

        // In alternating turns, so that other load on the machine affects both. Each turn drains a part of the large
        // backlog.
        var large = place.New();
        Opened.MakeBacklog(large, most);
        var (small, big) = (new List<Drained>(), new List<Drained>());
        for (var turn = 0; turn < Turns; turn++)
        {
            small.Add(await Drain.ToHttpAsync(Small(place), cancellationToken));
            big.Add(await Drain.ToHttpAsync(large, cancellationToken));
        }

        var (rate, bigRate) = (Median(small.Select(run => run.PerSecond)), Median(big.Select(run => run.PerSecond)));
        return
        [
            new("forward.http.readingsPerSecond", rate, "1/s", $">= 100,000, {Drain.Backlog:N0} waiting, batchSize 500, one request at a time; {ModuleBuild}"),
            Cpu("forward.http.microsecondsPerReading", small),
            OverIdle("forward.megabytesOverIdle", small),
            new("forward.10M.vs1M", rate / bigRate, "x", $"<= 1.2, {most:N0} waiting: {bigRate:N0}/s"),
        ];
    }

    static async Task<IReadOnlyList<BenchmarkRow>> MqttAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        var runs = new List<Drained>();
        for (var turn = 0; turn < Turns; turn++) runs.Add(await Drain.ToHubAsync(Small(place), cancellationToken));
        return
        [
            new("forward.mqtt.readingsPerSecond", Median(runs.Select(run => run.PerSecond)), "1/s", $">= 100,000, {Drain.Backlog:N0} waiting, batchSize 500, TLS; {ModuleBuild}"),
            Cpu("forward.mqtt.microsecondsPerReading", runs),
            OverIdle("forward.mqtt.megabytesOverIdle", runs),
        ];
    }

    static async Task<IReadOnlyList<BenchmarkRow>> LatencyAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        var certificates = place.New();
        using var hub = PubackServer.Start(certificates);
        using var server = new CountingServer();
        var mqtt = await LatencyAsync(place, $"{hub.Identity.GatewayHostName},{certificates}", cancellationToken);
        var http = await LatencyAsync(place, server.Url, cancellationToken);
        return
        [
            new("forward.latencyMilliseconds", mqtt[0], "ms", $"<= 50, median, MQTT and TLS; 95th percentile {mqtt[1]:0.0} ms"),
            new("forward.http.latencyMilliseconds", http[0], "ms", $"<= 50, median; 95th percentile {http[1]:0.0} ms"),
        ];
    }

    static Task<IReadOnlyList<BenchmarkRow>> WireAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        using var opened = new Opened(place.New());
        Task.WaitAll([.. Enumerable.Range(0, 1_000).Select(n => opened.Enqueue(n).AsTask())], cancellationToken);
        var encoder = new BatchEncoder("pi-7", "SensorForwarder");
        var readings = opened.Buffer.PeekBatch(500, 500, int.MaxValue);
        var batch = encoder.Encode(readings, int.MaxValue);
        var packed = BatchEncoder.Compress(batch.Body.Span, []);
        return Task.FromResult<IReadOnlyList<BenchmarkRow>>(
        [
            new("wire.readingsPer4KB", encoder.Encode(readings, ChunkBytes - Quota.PropertyBytes).Readings.Count, "", "temperature, humidity, pressure"),
            new("wire.bytesPerReading", (double)batch.Body.Length / batch.Readings.Count, "B", "batchSize 500"),
            new("wire.bytesPerReading.gzip", (double)packed.Length / batch.Readings.Count, "B", "batchSize 500"),
        ]);
    }

    static async Task<IReadOnlyList<BenchmarkRow>> WireGzipAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        using var opened = new Opened(place.New());
        const int Stored = 20_000;
        await Task.WhenAll(Enumerable.Range(0, Stored).Select(n => opened.Buffer.EnqueueAsync(
            RoomSensors.Read(n, Opened.FirstTime.AddSeconds(n / RoomSensors.Count)), cancellationToken).AsTask()));
        var readings = opened.Buffer.PeekBatch(0, Stored, int.MaxValue).ToArray();

        var one = Packed(readings, batchSize: 1_000, ChunkBytes - Quota.PropertyBytes);
        var many = Packed(readings, batchSize: 1_000, IotHubSink.LargestBodyBytes);
        return
        [
            new("wire.gzip.readingsPer4KB", one.PerChunk, "", ">= 215, 21 without gzip; ten sensors, messages of one chunk"),
            new("wire.gzip.readingsPer4KB.1000", many.PerChunk, "", ">= 250, batchSize 1000, cut to whole chunks"),
            new("wire.gzip.microsecondsPerReading", one.Microseconds, "us", "<= 10 of CPU, to size and compress messages of one chunk"),
            new("wire.gzip.microsecondsPerReading.1000", many.Microseconds, "us", "<= 10 of CPU, batchSize 1000, cut to whole chunks"),
        ];
    }

    /// <summary>Encodes all readings in batches of whole chunks. Returns readings per billed chunk and CPU time per
    /// reading.</summary>
    static (double PerChunk, double Microseconds) Packed(BufferedReading[] readings, int batchSize, int maxBytes)
    {
        var encoder = new BatchEncoder("pi-7", "SensorForwarder");
        var (chunks, sent, used) = (0L, 0L, TimeSpan.Zero);
        for (var warmUp = true; used < TimeSpan.FromSeconds(1); warmUp = false)
        {
            (chunks, sent) = warmUp ? (0, 0) : (chunks, sent);
            var before = Environment.CpuUsage.TotalTime;
            for (var at = 0; at + batchSize <= readings.Length;)
            {
                var batch = encoder.Encode(new ArraySegment<BufferedReading>(readings, at, batchSize), maxBytes, isGzip: true);
                if (Quota.WholeChunkBytes(batch.Gzip!.Value.Length) is var whole and > 0)
                    batch = encoder.Encode(batch.Readings, whole, isGzip: true);
                chunks += Quota.Chunks(batch.Gzip!.Value.Length);
                sent += batch.Readings.Count;
                at += batch.Readings.Count;
            }

            used = warmUp ? TimeSpan.Zero : used + (Environment.CpuUsage.TotalTime - before);
        }

        return ((double)sent / chunks, used.TotalMicroseconds / sent);
    }

    static string Small(Place place)
    {
        var directory = place.New();
        Opened.MakeBacklog(directory, Drain.Backlog);
        return directory;
    }

    static BenchmarkRow Cpu(string name, IReadOnlyList<Drained> runs) =>
        new(name, Median(runs.Select(run => run.Microseconds)), "us", $"CPU of the module; {ModuleBuild}");

    static BenchmarkRow OverIdle(string name, IReadOnlyList<Drained> runs) => new(
        name, Median(runs.Select(run => run.MegabytesOverIdle)), "MB",
        $"<= 20, peak of the process above {Median(runs.Select(run => run.IdleMegabytes)):0.0} MB idle; {ModuleBuild}");

    static async Task<double[]> LatencyAsync(Place place, string target, CancellationToken cancellationToken)
    {
        using var run = Process.Start(
            new ProcessStartInfo(Environment.ProcessPath!, ["--forward-latency", place.New(), target]) { RedirectStandardOutput = true })!;
        var lines = await run.StandardOutput.ReadToEndAsync(cancellationToken);
        await run.WaitForExitAsync(cancellationToken);
        return [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => double.Parse(line, CultureInfo.InvariantCulture))];
    }
}
