namespace SensorForwarder.Benchmarks;

/// <summary>One number of the report.</summary>
/// <param name="Name">As in the JSON file, such as <c>main.peakMegabytes</c>.</param>
/// <param name="Value">The number.</param>
/// <param name="Unit">Its unit; a ratio has none.</param>
/// <param name="Baseline">What it was compared with in the same run, or the goal; empty when there is none.</param>
internal sealed record BenchmarkRow(string Name, double Value, string Unit, string Baseline = "");

/// <summary>Numbers that are measured together.</summary>
/// <param name="Names">The names of its rows, so that <c>--only</c> can choose without running anything.</param>
/// <param name="RunAsync">Measures. Never fails on a number.</param>
internal sealed record Benchmark(IReadOnlyList<string> Names, Func<CancellationToken, Task<IReadOnlyList<BenchmarkRow>>> RunAsync);
