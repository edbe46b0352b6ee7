using System.Diagnostics;
using System.Text.Json.Nodes;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Sensors;

/// <summary>
/// Time from an edge on a GPIO line to the last write of its commit, with <c>commitIntervalMs</c> 0. Measured in the
/// virtual machine of SensorForwarder.KernelTests, set up by tests/SensorForwarder.KernelTests/prepare. Emulation is
/// about ten times slower than hardware, and its disk is in memory.
/// </summary>
internal static class EdgeToCommit
{
    const string Name = "gpio.edgeToCommitMilliseconds";

    public static Benchmark Benchmark { get; } = new([Name], RunAsync);

    static async Task<IReadOnlyList<BenchmarkRow>> RunAsync(CancellationToken cancellationToken)
    {
        var numbers = PathOf("KernelNumbersPath");
        File.Delete(numbers);
        var start = new ProcessStartInfo(PathOf("KernelTestsPath"), ["-noColor", "-method", "*An_edge_is_committed*"])
        {
            RedirectStandardOutput = true,
            // The default tier skips kernel tests.
            Environment = { ["TEST_TIER"] = "full" },
        };
        using var tests = Process.Start(start) ?? throw new InvalidOperationException($"cannot start {start.FileName}");
        var output = await tests.StandardOutput.ReadToEndAsync(cancellationToken);
        await tests.WaitForExitAsync(cancellationToken);
        if (!File.Exists(numbers))
        {
            await Console.Error.WriteLineAsync(
                $"{Name} not measured; run tests/SensorForwarder.KernelTests/prepare first. Output: {output}");
            return [];
        }

        var value = JsonNode.Parse(await File.ReadAllTextAsync(numbers, cancellationToken))![Name]!.GetValue<double>();
        return [new(Name, value, "ms", "median of 21, in emulation, on a file system in memory")];
    }
}
