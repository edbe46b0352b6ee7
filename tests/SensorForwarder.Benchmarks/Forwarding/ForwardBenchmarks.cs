using System.Diagnostics;
using System.Globalization;
using System.IO.Compression;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Benchmarks.EdgeHub;
using SensorForwarder.Forwarding;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>How fast a backlog drains to receivers that only count, what that takes, how long one reading takes, and what is on
/// the wire. <c>BENCHMARK_BACKLOG</c> is the large backlog of <c>forward.10M.vs1M</c> (default 10,000,000, at least 3,000,000).</summary>
internal static class ForwardBenchmarks
{
    const int Turns = 3;
    const int ChunkBytes = 4_096;

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(["forward.http.readingsPerSecond", "forward.megabytesOverIdle", "forward.10M.vs1M"], HttpAsync),
        new(["forward.mqtt.readingsPerSecond", "forward.mqtt.megabytesOverIdle"], MqttAsync),
        new(["forward.latencyMilliseconds", "forward.http.latencyMilliseconds"], LatencyAsync),
        new(["wire.readingsPer4KB", "wire.bytesPerReading", "wire.bytesPerReading.gzip"], WireAsync),
    ];

    static async Task<IReadOnlyList<BenchmarkRow>> HttpAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        var most = int.Parse(Environment.GetEnvironmentVariable("BENCHMARK_BACKLOG") ?? "10000000", CultureInfo.InvariantCulture);
        most = Math.Max(most, Turns * Drain.Backlog);

        // In turns, so that what else the machine does falls on both; a large one is drained bit by bit.
        var large = place.New();
        Contenders.MakeBacklog(large, most);
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
            new("forward.latencyMilliseconds", mqtt[0], "ms", $"<= 50, median over MQTT with TLS; one in twenty {mqtt[1]:0.0} ms"),
            new("forward.http.latencyMilliseconds", http[0], "ms", $"<= 50, median; one in twenty {http[1]:0.0} ms"),
        ];
    }

    static Task<IReadOnlyList<BenchmarkRow>> WireAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        using var opened = new Opened(place.New());
        Task.WaitAll([.. Enumerable.Range(0, 1_000).Select(n => opened.Enqueue(n).AsTask())], cancellationToken);
        var encoder = new BatchEncoder("pi-7", "SensorForwarder", () => opened.Buffer.Epoch);
        var readings = opened.Buffer.PeekBatch(500, 500, int.MaxValue);
        var batch = encoder.Encode(readings, int.MaxValue);
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Optimal, leaveOpen: true)) gzip.Write(batch.Body.Span);
        return Task.FromResult<IReadOnlyList<BenchmarkRow>>(
        [
            new("wire.readingsPer4KB", encoder.Encode(readings, ChunkBytes - Quota.PropertyBytes).Readings.Count, "", "temperature, humidity, pressure"),
            new("wire.bytesPerReading", (double)batch.Body.Length / batch.Readings.Count, "B", "batchSize 500"),
            new("wire.bytesPerReading.gzip", (double)packed.Length / batch.Readings.Count, "B", "batchSize 500"),
        ]);
    }

    static string Small(Place place)
    {
        var directory = place.New();
        Contenders.MakeBacklog(directory, Drain.Backlog);
        return directory;
    }

    static BenchmarkRow OverIdle(string name, IReadOnlyList<Drained> runs) => new(
        name, Median(runs.Select(run => run.MegabytesOverIdle)), "MB",
        $"<= 20, the module's process at its highest over idle {Median(runs.Select(run => run.IdleMegabytes)):0.0} MB; {ModuleBuild}");

    static async Task<double[]> LatencyAsync(Place place, string target, CancellationToken cancellationToken)
    {
        using var run = Process.Start(
            new ProcessStartInfo(Environment.ProcessPath!, ["--forward-latency", place.New(), target]) { RedirectStandardOutput = true })!;
        var lines = await run.StandardOutput.ReadToEndAsync(cancellationToken);
        await run.WaitForExitAsync(cancellationToken);
        return [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => double.Parse(line, CultureInfo.InvariantCulture))];
    }
}
