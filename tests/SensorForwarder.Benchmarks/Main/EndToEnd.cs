using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;

namespace SensorForwarder.Benchmarks.Main;

/// <summary>
/// Throughput and memory of the whole module as a process, from simulated sensors through SQLite to the simulator's
/// edgeHub over MQTT with TLS. The sensors offer more readings than the module can forward.
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
        using var gateway = await SimulatedGateway.StartAsync(Settings(), cancellationToken);
        var module = gateway.StartModule(webPort: 0);
        await Task.Delay(WarmUp, TimeProvider.System, cancellationToken);
        var before = await gateway.UniqueAsync(cancellationToken);
        var clock = Stopwatch.StartNew();
        await Task.Delay(Measured, TimeProvider.System, cancellationToken);
        var rate = (await gateway.UniqueAsync(cancellationToken) - before) / clock.Elapsed.TotalSeconds;
        module.Refresh();
        var offered = (Sensors / IntervalSeconds).ToString("#,0", CultureInfo.InvariantCulture);
        return
        [
            new("main.endToEndReadingsPerSecond", rate, "readings/s", $"{offered} offered by {Sensors} sensors"),
            new("main.peakMegabytes", module.PeakWorkingSet64 / 1048576.0, "MB", "the module under this load"),
        ];
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
}
