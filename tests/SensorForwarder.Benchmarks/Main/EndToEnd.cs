using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Reflection;
using System.Text.Json.Nodes;

namespace SensorForwarder.Benchmarks.Main;

/// <summary>
/// The whole module as a process, from simulated sensors through SQLite to the simulator's edgeHub over MQTT with TLS:
/// how many readings a second arrive when the sensors give far more than the rest can take, and what it needs for that.
/// </summary>
internal static class EndToEnd
{
    const int Sensors = 400;
    const double IntervalSeconds = 0.01;
    static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(5);
    static readonly TimeSpan Measured = TimeSpan.FromSeconds(15);

    public static Benchmark Benchmark { get; } =
        new(["main.endToEndReadingsPerSecond", "main.peakMegabytes"], RunAsync);

    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        var directory = Directory.CreateTempSubdirectory("sensorforwarder-benchmark-");
        try
        {
            var settings = Path.Combine(directory.FullName, "settings.json");
            await File.WriteAllTextAsync(settings, Settings().ToJsonString(), cancellationToken);
            var api = FreePort();
            using var simulator = Start(PathOf("EdgeSimulatorPath"),
                ["--no-module", "--settings", settings, "--api", api.ToString(CultureInfo.InvariantCulture)], []);
            var environment = await ReadExportsAsync(simulator, cancellationToken);
            environment["Buffer__Directory"] = Path.Combine(directory.FullName, "data");
            environment["Web__Port"] = "0";
            environment["RuntimeLogLevel"] = "warning";
            using var module = Start(PathOf("ModulePath"), [], environment);
            _ = module.StandardOutput.ReadToEndAsync(cancellationToken);

            using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{api}") };
            await Task.Delay(WarmUp, TimeProvider.System, cancellationToken);
            var before = await UniqueAsync(http, cancellationToken);
            var clock = Stopwatch.StartNew();
            await Task.Delay(Measured, TimeProvider.System, cancellationToken);
            var rate = (await UniqueAsync(http, cancellationToken) - before) / clock.Elapsed.TotalSeconds;

            module.Refresh();
            var peak = module.PeakWorkingSet64 / 1048576.0;
            module.Kill();
            simulator.Kill();
            await module.WaitForExitAsync(cancellationToken);
            await simulator.WaitForExitAsync(cancellationToken);
            var offered = (Sensors / IntervalSeconds).ToString("#,0", CultureInfo.InvariantCulture);
            return
            [
                new("main.endToEndReadingsPerSecond", rate, "readings/s", $"{offered} offered by {Sensors} sensors"),
                new("main.peakMegabytes", peak, "MB", "the module under that load"),
            ];
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    static JsonObject Settings()
    {
        var sensors = new JsonObject();
        for (var i = 0; i < Sensors; i++)
            sensors[$"s{i}"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = IntervalSeconds, ["seed"] = i };
        return new()
        {
            ["batchSize"] = 500,
            ["uploadIntervalSeconds"] = 1,
            ["maxInFlightBatches"] = 16,
            ["commitIntervalMs"] = 200,
            ["sensors"] = sensors,
        };
    }

    static async Task<double> UniqueAsync(HttpClient http, CancellationToken cancellationToken)
    {
        var report = await http.GetFromJsonAsync<JsonObject>("/report", cancellationToken);
        return report?["unique"]?.GetValue<double>() ?? throw new InvalidOperationException("the report has no 'unique'");
    }

    static async Task<Dictionary<string, string>> ReadExportsAsync(Process simulator, CancellationToken cancellationToken)
    {
        const string Export = "export ";
        const string Last = "Web__Port";
        var environment = new Dictionary<string, string>();
        while (await simulator.StandardOutput.ReadLineAsync(cancellationToken) is { } line)
        {
            line = line.Trim();
            if (!line.StartsWith(Export, StringComparison.Ordinal)) continue;
            var equals = line.IndexOf('=', StringComparison.Ordinal);
            environment[line[Export.Length..equals]] = line[(equals + 1)..].Trim('\'', '"');
            if (environment.ContainsKey(Last)) break;
        }

        if (environment.Count == 0) throw new InvalidOperationException("the simulator printed no environment");
        _ = simulator.StandardOutput.ReadToEndAsync(cancellationToken);
        return environment;
    }

    static Process Start(string path, string[] arguments, Dictionary<string, string> environment)
    {
        var start = new ProcessStartInfo(path, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        var process = Process.Start(start) ?? throw new InvalidOperationException($"{path} could not be started");
        process.BeginErrorReadLine(); // read and left out: the report is a table
        return process;
    }

    static int FreePort()
    {
        using var listener = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        return ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
    }

    static string PathOf(string key) => Assembly.GetExecutingAssembly()
        .GetCustomAttributes<AssemblyMetadataAttribute>()
        .First(attribute => attribute.Key == key).Value!;
}
