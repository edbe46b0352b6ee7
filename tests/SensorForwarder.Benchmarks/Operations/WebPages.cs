using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Operations;

/// <summary>What it costs the module to be looked at: scrapes of its metrics, and one open page, with 20 sensors.</summary>
internal static partial class WebPages
{
    const int Sensors = 20;
    const int Scrapes = 200;
    static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(5);
    static readonly TimeSpan Measured = TimeSpan.FromSeconds(20);

    public static Benchmark Benchmark { get; } =
        new(["metrics.scrapeMilliseconds", "metrics.scrapeBytes", "dashboard.bytes", "dashboard.cpuPercent"], RunAsync);

    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        var directory = Directory.CreateTempSubdirectory("sensorforwarder-benchmark-");
        var port = FreePort();
        using var module = await StartAsync(directory.FullName, port, cancellationToken);
        try
        {
            using var http = new HttpClient { BaseAddress = new($"http://127.0.0.1:{port}") };
            await Task.Delay(WarmUp, TimeProvider.System, cancellationToken);

            var bytes = 0;
            var clock = Stopwatch.StartNew();
            for (var i = 0; i < Scrapes; i++) bytes = (await http.GetByteArrayAsync("/metrics", cancellationToken)).Length;
            var scrape = clock.Elapsed.TotalMilliseconds / Scrapes;

            var firstLoad = await FirstLoadAsync(http, cancellationToken);
            var without = await CpuPercentAsync(module, cancellationToken);
            using var page = await http.GetStreamAsync("/api/stream", cancellationToken);
            var reading = page.CopyToAsync(Stream.Null, cancellationToken);
            var with = await CpuPercentAsync(module, cancellationToken);
            return
            [
                new("metrics.scrapeMilliseconds", scrape, "ms", $"{Sensors} sensors, one scrape after the other"),
                new("metrics.scrapeBytes", bytes, "bytes", $"{Sensors} sensors"),
                new("dashboard.bytes", firstLoad, "bytes", "at most 100,000"),
                new("dashboard.cpuPercent", with, "% of a core", $"one page open; {without:0.00} % without one"),
            ];
        }
        finally
        {
            module.Kill();
            await module.WaitForExitAsync(cancellationToken);
            directory.Delete(recursive: true);
        }
    }

    /// <summary>The page, what it names, and what it asks for at once.</summary>
    static async Task<long> FirstLoadAsync(HttpClient http, CancellationToken cancellationToken)
    {
        var page = await http.GetStringAsync("/", cancellationToken);
        var files = FileName.Matches(page).Select(match => match.Groups[1].Value).Distinct();
        long sum = page.Length;
        foreach (var path in (string[])[.. files, "api/now", "api/events", "api/hour", "api/settings"])
            sum += (await http.GetByteArrayAsync(path, cancellationToken)).Length;
        return sum;
    }

    static async Task<double> CpuPercentAsync(Process module, CancellationToken cancellationToken)
    {
        module.Refresh();
        var before = module.TotalProcessorTime;
        var clock = Stopwatch.StartNew();
        await Task.Delay(Measured, TimeProvider.System, cancellationToken);
        module.Refresh();
        return 100 * (module.TotalProcessorTime - before) / clock.Elapsed;
    }

    static async Task<Process> StartAsync(string directory, int port, CancellationToken cancellationToken)
    {
        var sensors = new JsonObject();
        for (var i = 0; i < Sensors; i++) sensors[$"s{i}"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = 1, ["seed"] = i };
        var settings = Path.Combine(directory, "settings.json");
        await File.WriteAllTextAsync(settings, new JsonObject { ["sensors"] = sensors }.ToJsonString(), cancellationToken);
        var start = new ProcessStartInfo(ModulePath) { RedirectStandardOutput = true };
        start.Environment["Buffer__Directory"] = Path.Combine(directory, "data");
        start.Environment["Settings__File"] = settings;
        start.Environment["Web__Port"] = $"{port}";
        var process = Process.Start(start) ?? throw new InvalidOperationException("the module could not be started");
        while (await process.StandardOutput.ReadLineAsync(cancellationToken) is { } line && !line.Contains("on port", StringComparison.Ordinal))
        {
            // Until it listens.
        }

        _ = process.StandardOutput.ReadToEndAsync(cancellationToken);
        return process;
    }

    [GeneratedRegex("(?:src|href)=\"([a-z]+\\.[a-z]+)\"")]
    private static partial Regex FileName { get; }
}
