using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Main;

/// <summary>Time from start to the first committed reading, and memory in normal operation.</summary>
internal static class Footprint
{
    const int Starts = 11;

    static readonly TimeSpan Measured = TimeSpan.FromSeconds(
        double.TryParse(Environment.GetEnvironmentVariable("SENSORFORWARDER_SOAK_SECONDS"), CultureInfo.InvariantCulture, out var seconds) ? seconds : 60);

    public static IReadOnlyList<Benchmark> All { get; } =
    [
        new(["start.firstCommittedMilliseconds"], StartAsync),
        new(["memory.edgeHubMegabytes"], RunAsync),
    ];

    // From process start until a reading is in the file, in an empty directory. Polls without pauses.
    static async Task<IReadOnlyList<BenchmarkRow>> StartAsync(CancellationToken cancellationToken)
    {
        var times = new List<double>();
        for (var i = 0; i < Starts; i++)
        {
            var directory = Directory.CreateTempSubdirectory("sensorforwarder-benchmark-");
            try
            {
                var settings = Path.Combine(directory.FullName, "settings.json");
                await File.WriteAllTextAsync(
                    settings, """{"commitIntervalMs":0,"sensors":{"a":{"kind":"simulated","intervalSeconds":0.01}}}""", cancellationToken);
                times.Add(MillisecondsToFirstRow(directory.FullName, settings));
            }
            finally
            {
                directory.Delete(recursive: true);
            }
        }

        return [new("start.firstCommittedMilliseconds", Median(times), "ms", $"goal 300; {ModuleBuild}, median of {Starts} starts")];
    }

    static double MillisecondsToFirstRow(string directory, string settings)
    {
        var start = new ProcessStartInfo(ModulePath) { RedirectStandardOutput = true };
        start.Environment["Settings__File"] = settings;
        start.Environment["Buffer__Directory"] = directory;
        start.Environment["Http__Endpoint"] = "http://127.0.0.1:9/";
        start.Environment["Web__Port"] = "0";
        var database = Path.Combine(directory, "telemetry.db");
        var clock = Stopwatch.StartNew();
        using var module = Process.Start(start)!;
        module.BeginOutputReadLine();
        try
        {
            while (!HasRow(database)) Thread.Yield();
            return clock.Elapsed.TotalMilliseconds;
        }
        finally
        {
            module.Kill();
            module.WaitForExit();
        }
    }

    static bool HasRow(string database)
    {
        if (!File.Exists(database)) return false;
        try
        {
            using var connection = new SqliteConnection($"Data Source={database};Mode=ReadOnly;Pooling=False");
            connection.Open();
            using var query = connection.CreateCommand();
            query.CommandText = "SELECT max(first_id) FROM segment";
            return query.ExecuteScalar() is long;
        }
        catch (SqliteException)
        {
            // The tables do not exist yet.
            return false;
        }
    }

    // SENSORFORWARDER_SOAK_SECONDS=600 measures ten minutes.
    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        var sensors = new JsonObject { ["host"] = new JsonObject { ["kind"] = "host", ["intervalSeconds"] = 0.1 } };
        for (var i = 0; i < 9; i++) sensors[$"s{i}"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = 0.1 };
        using var gateway = await SimulatedGateway.StartAsync(new() { ["sensors"] = sensors }, cancellationToken);
        var port = FreePort();
        var module = gateway.StartModule(port);
        using var web = new HttpClient { BaseAddress = new($"http://127.0.0.1:{port}") };
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed < Measured)
        {
            await Task.Delay(TimeSpan.FromSeconds(5), TimeProvider.System, cancellationToken);
            await web.GetStringAsync(new Uri("/metrics", UriKind.Relative), cancellationToken);
            await web.GetStringAsync(new Uri("/status", UriKind.Relative), cancellationToken);
        }

        module.Refresh();
        return
        [
            new("memory.edgeHubMegabytes", module.PeakWorkingSet64 / 1048576.0, "MB",
                $"goal 36; {ModuleBuild}, {clock.Elapsed.TotalSeconds:F0} s of 10 sensors at 10 Hz, {await gateway.UniqueAsync(cancellationToken):#,0} readings arrived"),
        ];
    }
}
