using System.Globalization;
using System.Text.Json.Nodes;
using SensorForwarder.Benchmarks;
using SensorForwarder.Benchmarks.Buffer;
using SensorForwarder.Benchmarks.EdgeHub;
using SensorForwarder.Benchmarks.Forwarding;
using SensorForwarder.Benchmarks.Intake;
using SensorForwarder.Benchmarks.Main;
using SensorForwarder.Benchmarks.Operations;
using SensorForwarder.Benchmarks.Sensors;

// Helper processes that some benchmarks start.
if (args is ["--puback-server", var place]) return await PubackServer.RunAsync(place);

if (args is ["--forward-latency", var quiet, var receiver]) return await LatencyRun.RunAsync(quiet, receiver);

#if DEVICE_SDK
if (await SdkThroughput.RunClientAsync(args) is { } ended) return ended;
#endif

// All benchmarks, in the order of the report.
IReadOnlyList<Benchmark> benchmarks =
[
    EndToEnd.Benchmark, .. Footprint.All, .. BufferBenchmarks.All, .. VolumeBenchmarks.All, HttpIntakeRate.Benchmark, InputRate.Benchmark, MqttThroughput.Benchmark, .. ForwardBenchmarks.All, ForwardStages.Benchmark, .. SensorLoad.All,
    EdgeToCommit.Benchmark, WebPages.Benchmark,
#if DEVICE_SDK
    SdkThroughput.Benchmark,
#endif
];

const string Usage = """
    Usage: dotnet run -c Release --project tests/SensorForwarder.Benchmarks -- [--only NAME ...] [--json FILE]
      --only NAME ...  run only these rows; a trailing '*' matches any suffix
      --json FILE      also write the results as a flat map of name to number
      --list           list all names and exit
    """;

var only = new List<string>();
string? jsonPath = null;
for (var i = 0; i < args.Length; i++)
{
    switch (args[i])
    {
        case "--only":
            while (i + 1 < args.Length && !args[i + 1].StartsWith("--", StringComparison.Ordinal)) only.Add(args[++i]);
            break;
        case "--json" when i + 1 < args.Length:
            jsonPath = args[++i];
            break;
        case "--list":
            foreach (var name in benchmarks.SelectMany(benchmark => benchmark.Names)) Console.WriteLine(name);
            return 0;
        default:
            Console.Error.WriteLine($"Unknown argument '{args[i]}'.\n{Usage}");
            return 2;
    }
}

bool IsWanted(string name) => only.Count == 0 || only.Any(pattern => pattern.EndsWith('*')
    ? name.StartsWith(pattern[..^1], StringComparison.Ordinal)
    : name == pattern);

if (only.FirstOrDefault(pattern => !benchmarks.Any(b => b.Names.Any(name => IsWanted(name) && (name == pattern || pattern.EndsWith('*'))))) is { } unknown)
{
    Console.Error.WriteLine($"--only: unknown name '{unknown}'; --list shows all names.");
    return 2;
}

var numbers = new JsonObject();
Console.WriteLine($"{"name",-44} {"value",14}  {"unit",-12} baseline");
foreach (var benchmark in benchmarks.Where(benchmark => benchmark.Names.Any(IsWanted)))
{
    foreach (var row in await benchmark.RunAsync(CancellationToken.None))
    {
        if (!IsWanted(row.Name)) continue;
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{row.Name,-44} {row.Value,14:#,0.###}  {row.Unit,-12} {row.Baseline}"));
        numbers[row.Name] = row.Value;
    }
}

if (jsonPath is not null) await File.WriteAllTextAsync(jsonPath, numbers.ToString());
return 0;
