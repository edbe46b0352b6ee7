using System.Diagnostics;
using System.Text.Json.Nodes;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Sensors;

/// <summary>
/// From an edge on a GPIO line to the last write of its commit, with <c>commitIntervalMs</c> 0: measured inside the emulated
/// machine of SensorForwarder.KernelTests, which tests/SensorForwarder.KernelTests/prepare lays out. Emulation is an order of
/// magnitude slower than a machine, and its disk is memory.
/// </summary>
internal static class EdgeToCommit
{
    const string Name = "gpio.edgeToCommitMilliseconds";

    public static Benchmark Benchmark { get; } = new([Name], RunAsync);

    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        var numbers = PathOf("KernelNumbersPath");
        File.Delete(numbers);
        var start = new ProcessStartInfo(PathOf("KernelTestsPath"), ["-noColor", "-method", "*An_edge_is_committed*"]) { RedirectStandardOutput = true };
        using var tests = Process.Start(start) ?? throw new InvalidOperationException($"{start.FileName} could not be started");
        var output = await tests.StandardOutput.ReadToEndAsync(cancellationToken);
        await tests.WaitForExitAsync(cancellationToken);
        if (!File.Exists(numbers))
        {
            await Console.Error.WriteLineAsync($"{Name} was not measured; tests/SensorForwarder.KernelTests/prepare sets it up: {output}");
            return [];
        }

        var value = JsonNode.Parse(await File.ReadAllTextAsync(numbers, cancellationToken))![Name]!.GetValue<double>();
        return [new(Name, value, "ms", "median of 21, in emulation, on a file system in memory")];
    }
}
