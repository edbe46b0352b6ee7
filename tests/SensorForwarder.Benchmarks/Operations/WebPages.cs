using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Operations;

/// <summary>What it costs the module to be looked at: scrapes of its metrics, and one open page, with 20 sensors. The page's share
/// is the CPU time of the module's process with its stream open less that without one, in turns that follow each other.</summary>
internal static partial class WebPages
{
    const int Sensors = 20;
    const int Scrapes = 200;
    static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(5);
    static readonly TimeSpan Settling = TimeSpan.FromSeconds(2);
    const int Turns = 4;

    /// <summary>One turn with and one without the page, together; SENSORFORWARDER_PAGE_SECONDS is another time.</summary>
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
                // Which comes first changes: what drifts does not count for one of them.
                var isFirst = turn % 2 == 0;
                var early = await CpuPercentAsync(module, http, isPageOpen: isFirst, cancellationToken);
                var late = await CpuPercentAsync(module, http, isPageOpen: !isFirst, cancellationToken);
                pairs.Add(isFirst ? (early, late) : (late, early));
            }

            var differences = pairs.Select(pair => pair.With - pair.Without).Order().ToList();
            var cpu = string.Create(CultureInfo.InvariantCulture,
                $"{ModuleBuild}; {Median(pairs.Select(pair => pair.With)):0.00} with one page less {Median(pairs.Select(pair => pair.Without)):0.00} without; {Turns} pairs of {Pair.TotalSeconds:0} s, {differences[0]:0.00} to {differences[^1]:0.00}");
            return
            [
                new("metrics.scrapeMilliseconds", scrape, "ms", $"{Sensors} sensors, one scrape after the other"),
                new("metrics.scrapeBytes", bytes, "bytes", $"{Sensors} sensors"),
                new("dashboard.bytes", firstLoad, "bytes", $"at most 100,000; {Sensors} sensors, {inFull} bytes before compression"),
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

    /// <summary>The page, what it names, and what it asks for at once.</summary>
    /// <param name="encoding">As browsers ask for it: <c>gzip</c>, or <c>identity</c>.</param>
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
        if (await reading == 0 && isPageOpen) throw new InvalidOperationException("the page's stream said nothing");
        return percent;
    }

    /// <summary>Reads what an open page reads.</summary>
    /// <returns>Bytes that came until it was closed.</returns>
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
