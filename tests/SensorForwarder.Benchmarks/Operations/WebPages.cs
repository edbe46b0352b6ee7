using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Operations;

/// <summary>Cost of scraping the module's metrics and of one open dashboard, with 20 sensors. The dashboard's cost is
/// the module's CPU time with its stream open minus that without, in alternating turns.</summary>
internal static partial class WebPages
{
    const int Sensors = 20;
    const int Scrapes = 200;
    static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(5);
    static readonly TimeSpan Settling = TimeSpan.FromSeconds(2);
    const int Turns = 4;

    /// <summary>Duration of a turn with and a turn without the page together, or
    /// SENSORFORWARDER_PAGE_SECONDS.</summary>
    static readonly TimeSpan Pair = TimeSpan.FromSeconds(
        double.TryParse(Environment.GetEnvironmentVariable("SENSORFORWARDER_PAGE_SECONDS"), CultureInfo.InvariantCulture, out var seconds) ? seconds : 60);

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

            var firstLoad = await FirstLoadAsync(http, "gzip", cancellationToken);
            var inFull = await FirstLoadAsync(http, "identity", cancellationToken);
            var pairs = new List<(double With, double Without)>();
            for (var turn = 0; turn < Turns; turn++)
            {
                // The order alternates, so that drift does not favour one of them.
                var isFirst = turn % 2 == 0;
                var early = await CpuPercentAsync(module, http, isPageOpen: isFirst, cancellationToken);
                var late = await CpuPercentAsync(module, http, isPageOpen: !isFirst, cancellationToken);
                pairs.Add(isFirst ? (early, late) : (late, early));
            }

            var differences = pairs.Select(pair => pair.With - pair.Without).Order().ToList();
            var cpu = string.Create(CultureInfo.InvariantCulture,
                $"{ModuleBuild}; {Median(pairs.Select(pair => pair.With)):0.00} with one page minus {Median(pairs.Select(pair => pair.Without)):0.00} without; {Turns} pairs of {Pair.TotalSeconds:0} s, {differences[0]:0.00} to {differences[^1]:0.00}");
            return
            [
                new("metrics.scrapeMilliseconds", scrape, "ms", $"{Sensors} sensors, sequential scrapes"),
                new("metrics.scrapeBytes", bytes, "bytes", $"{Sensors} sensors"),
                new("dashboard.bytes", firstLoad, "bytes", $"<= 100,000; {Sensors} sensors, uncompressed {inFull}"),
                new("dashboard.cpuPercent", Median(differences), "% of a core", cpu),
            ];
        }
        finally
        {
            module.Kill();
            await module.WaitForExitAsync(cancellationToken);
            directory.Delete(recursive: true);
        }
    }

    /// <summary>Total bytes of the page, the files that it references, and its first requests.</summary>
    /// <param name="encoding">The Accept-Encoding header: <c>gzip</c> or <c>identity</c>.</param>
    static async Task<long> FirstLoadAsync(HttpClient http, string encoding, CancellationToken cancellationToken)
    {
        var page = await http.GetStringAsync("/", cancellationToken);
        var files = FileName.Matches(page).Select(match => match.Groups[1].Value).Distinct();
        var sum = 0L;
        foreach (var path in (string[])["/", .. files, "api/now", "api/events", "api/hour", "api/settings"])
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path) { Headers = { { "Accept-Encoding", encoding } } };
            using var answer = await http.SendAsync(request, cancellationToken);
            sum += (await answer.EnsureSuccessStatusCode().Content.ReadAsByteArrayAsync(cancellationToken)).Length;
        }

        return sum;
    }

    static async Task<double> CpuPercentAsync(Process module, HttpClient http, bool isPageOpen, CancellationToken cancellationToken)
    {
        using var closing = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var reading = isPageOpen ? ReadStreamAsync(http, closing.Token) : Task.FromResult(0L);
        await Task.Delay(Settling, TimeProvider.System, cancellationToken);
        module.Refresh();
        var before = module.TotalProcessorTime;
        var clock = Stopwatch.StartNew();
        await Task.Delay(Pair / 2, TimeProvider.System, cancellationToken);
        module.Refresh();
        var percent = 100 * (module.TotalProcessorTime - before) / clock.Elapsed;
        await closing.CancelAsync();
        if (await reading == 0 && isPageOpen) throw new InvalidOperationException("the page's stream sent no data");
        return percent;
    }

    /// <summary>Reads the stream of an open page until cancelled.</summary>
    /// <returns>The number of bytes read.</returns>
    static async Task<long> ReadStreamAsync(HttpClient http, CancellationToken closing)
    {
        var bytes = 0L;
        var piece = new byte[64 << 10];
        try
        {
            await using var stream = await http.GetStreamAsync("/api/stream", closing);
            while (await stream.ReadAsync(piece, closing) is > 0 and var count) bytes += count;
        }
        catch (OperationCanceledException) when (closing.IsCancellationRequested)
        {
            // The page is closed.
        }

        return bytes;
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
        var process = Process.Start(start) ?? throw new InvalidOperationException($"cannot start {ModulePath}");
        while (await process.StandardOutput.ReadLineAsync(cancellationToken) is { } line && !line.Contains("on port", StringComparison.Ordinal))
        {
            // Waits until the module listens.
        }

        _ = process.StandardOutput.ReadToEndAsync(cancellationToken);
        return process;
    }

    [GeneratedRegex("(?:src|href)=\"([a-z]+\\.[a-z]+)\"")]
    private static partial Regex FileName { get; }
}
