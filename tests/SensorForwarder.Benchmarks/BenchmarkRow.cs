namespace SensorForwarder.Benchmarks;

/// <summary>One number of the report.</summary>
/// <param name="Name">The name, also in the JSON file, such as <c>main.peakMegabytes</c>.</param>
/// <param name="Value">The number.</param>
/// <param name="Unit">The unit; empty for a ratio.</param>
/// <param name="Baseline">The goal, or what was measured for comparison in the same run; may be empty.</param>
internal sealed record BenchmarkRow(string Name, double Value, string Unit, string Baseline = "");

/// <summary>A benchmark that measures one or more rows together.</summary>
/// <param name="Names">The names of the rows, so that <c>--only</c> can select benchmarks before running them.</param>
/// <param name="RunAsync">Runs the benchmark. A missed goal is not an error.</param>
internal sealed record Benchmark(IReadOnlyList<string> Names, Func<CancellationToken, Task<IReadOnlyList<BenchmarkRow>>> RunAsync);
