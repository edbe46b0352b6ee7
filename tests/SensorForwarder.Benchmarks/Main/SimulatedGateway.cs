using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Main;

/// <summary>Runs the EdgeSimulator as a process, and the module as another with the identity that the simulator
/// printed.</summary>
internal sealed class SimulatedGateway : IDisposable
{
    readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("sensorforwarder-benchmark-");
    readonly List<Process> _processes = [];
    readonly HttpClient _api;
    Dictionary<string, string> _environment = [];

    SimulatedGateway(int apiPort) => _api = new() { BaseAddress = new($"http://127.0.0.1:{apiPort}") };

    /// <param name="desired">The module twin's desired properties.</param>
    public static async Task<SimulatedGateway> StartAsync(JsonObject desired, CancellationToken cancellationToken)
    {
        var api = FreePort();
        var gateway = new SimulatedGateway(api);
        var settings = Path.Combine(gateway._directory.FullName, "settings.json");
        await File.WriteAllTextAsync(settings, desired.ToJsonString(), cancellationToken);
        var simulator = gateway.StartProcess(PathOf("EdgeSimulatorPath"),
            ["--no-module", "--skip-schemas", "--settings", settings, "--api", api.ToString(CultureInfo.InvariantCulture)], []);
        gateway._environment = await ReadExportsAsync(simulator, cancellationToken);
        gateway._environment["Buffer__Directory"] = Path.Combine(gateway._directory.FullName, "data");
        gateway._environment["RuntimeLogLevel"] = "warning";
        return gateway;
    }

    public Process StartModule(int webPort)
    {
        _environment["Web__Port"] = webPort.ToString(CultureInfo.InvariantCulture);
        var module = StartProcess(ModulePath, [], _environment);
        module.BeginOutputReadLine(); // Discards the module's log.
        return module;
    }

    /// <summary>Number of readings that have arrived, without duplicates.</summary>
    public async Task<double> UniqueAsync(CancellationToken cancellationToken)
    {
        var report = await _api.GetFromJsonAsync<JsonObject>("/report", cancellationToken);
        return report?["unique"]?.GetValue<double>() ?? throw new InvalidOperationException("the report has no 'unique'");
    }

    public void Dispose()
    {
        foreach (var process in Enumerable.Reverse(_processes))
        {
            process.Kill();
            process.WaitForExit();
            process.Dispose();
        }

        _api.Dispose();
        _directory.Delete(recursive: true);
    }

    Process StartProcess(string path, string[] arguments, Dictionary<string, string> environment)
    {
        var start = new ProcessStartInfo(path, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        var process = Process.Start(start) ?? throw new InvalidOperationException($"cannot start {path}");
        process.BeginErrorReadLine();
        _processes.Add(process);
        return process;
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
}
