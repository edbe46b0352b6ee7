using System.Diagnostics;
using System.Globalization;
using System.IO.Compression;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Benchmarks.EdgeHub;
using SensorForwarder.Forwarding;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>How fast a backlog drains to receivers that only count, what that takes, how long one reading takes, and what is on
/// the wire. <c>BENCHMARK_BACKLOG</c> is the large backlog of <c>forward.10M.vs1M</c> (default 10,000,000).</summary>
internal static class ForwardBenchmarks
{
    const int Backlog = 1_000_000;
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
        using var server = Start("--counting-server");
        try
        {
            var url = $"http://127.0.0.1:{await server.StandardOutput.ReadLineAsync(cancellationToken)}/";
            var most = int.Parse(Environment.GetEnvironmentVariable("BENCHMARK_BACKLOG") ?? "10000000", CultureInfo.InvariantCulture);

            // In turns, so that what else the machine does falls on both; a large one is drained bit by bit.
            var large = place.New();
            Contenders.MakeBacklog(large, most);
            var (small, big) = (new List<double[]>(), new List<double[]>());
            for (var turn = 0; turn < 3; turn++)
            {
                small.Add(await DrainAsync(place, url, cancellationToken));
                big.Add(await RunAsync(["--forward-drain", large, url, $"{Backlog}"], cancellationToken));
            }

            var (rate, bigRate) = (Median(small.Select(n => n[0])), Median(big.Select(n => n[0])));
            return
            [
                new("forward.http.readingsPerSecond", rate, "1/s", $">= 100,000, {Backlog:N0} waiting, batchSize 500, one request at a time"),
                new("forward.megabytesOverIdle", Median(small.Select(n => n[2] - n[1])), "MB", $"<= 20, idle {Median(small.Select(n => n[1])):0} MB"),
                new("forward.10M.vs1M", rate / bigRate, "x", $"<= 1.2, {most:N0} waiting: {bigRate:N0}/s"),
            ];
        }
        finally
        {
            server.Kill();
        }
    }

    static async Task<IReadOnlyList<BenchmarkRow>> MqttAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        using var server = MqttThroughput.StartServer(place.New(), out var identity);
        try
        {
            var target = $"{identity.GatewayHostName},{identity.TrustedCaFile}";
            var turns = new List<double[]>();
            for (var turn = 0; turn < 3; turn++) turns.Add(await DrainAsync(place, target, cancellationToken));
            return
            [
                new("forward.mqtt.readingsPerSecond", Median(turns.Select(n => n[0])), "1/s", $">= 100,000, {Backlog:N0} waiting, batchSize 500, TLS"),
                new("forward.mqtt.megabytesOverIdle", Median(turns.Select(n => n[2] - n[1])), "MB", $"<= 20, idle {Median(turns.Select(n => n[1])):0} MB"),
            ];
        }
        finally
        {
            server.Kill();
        }
    }

    static async Task<IReadOnlyList<BenchmarkRow>> LatencyAsync(CancellationToken cancellationToken)
    {
        using var place = new Place();
        using var hub = MqttThroughput.StartServer(place.New(), out var identity);
        using var server = Start("--counting-server");
        try
        {
            var url = $"http://127.0.0.1:{await server.StandardOutput.ReadLineAsync(cancellationToken)}/";
            var mqtt = await RunAsync(["--forward-latency", place.New(), $"{identity.GatewayHostName},{identity.TrustedCaFile}"], cancellationToken);
            var http = await RunAsync(["--forward-latency", place.New(), url], cancellationToken);
            return
            [
                new("forward.latencyMilliseconds", mqtt[0], "ms", $"<= 50, median over MQTT with TLS; one in twenty {mqtt[1]:0.0} ms"),
                new("forward.http.latencyMilliseconds", http[0], "ms", $"<= 50, median; one in twenty {http[1]:0.0} ms"),
            ];
        }
        finally
        {
            hub.Kill();
            server.Kill();
        }
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

    static Task<double[]> DrainAsync(Place place, string target, CancellationToken cancellationToken)
    {
        var directory = place.New();
        Contenders.MakeBacklog(directory, Backlog);
        return RunAsync(["--forward-drain", directory, target, $"{Backlog}"], cancellationToken);
    }

    static async Task<double[]> RunAsync(string[] arguments, CancellationToken cancellationToken)
    {
        using var run = Start(arguments);
        var lines = await run.StandardOutput.ReadToEndAsync(cancellationToken);
        await run.WaitForExitAsync(cancellationToken);
        return [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => double.Parse(line, CultureInfo.InvariantCulture))];
    }

    static Process Start(params string[] arguments) =>
        Process.Start(new ProcessStartInfo(Environment.ProcessPath!, arguments) { RedirectStandardOutput = true })!;
}
