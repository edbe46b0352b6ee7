using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Reflection;

namespace SensorForwarder.Benchmarks;

/// <summary>Paths, ports and system counters that several benchmarks use.</summary>
internal static class Surroundings
{
    /// <summary>The module's executable. SENSORFORWARDER_MODULE selects another build, such as the native
    /// one.</summary>
    public static string ModulePath { get; } = Environment.GetEnvironmentVariable("SENSORFORWARDER_MODULE") ?? PathOf("ModulePath");

    /// <summary>The kind of build, for the report: a JIT build is slower and larger than a native one.</summary>
    public static string ModuleBuild { get; } = File.Exists(ModulePath + ".dll") ? "JIT build" : "native build";

    /// <summary>An older build for comparison in the same run, from SENSORFORWARDER_BASELINE. Null: none.</summary>
    public static string? BaselinePath { get; } = Environment.GetEnvironmentVariable("SENSORFORWARDER_BASELINE");

    /// <summary>A path from the assembly metadata in the project file.</summary>
    public static string PathOf(string key) => Assembly.GetExecutingAssembly()
        .GetCustomAttributes<AssemblyMetadataAttribute>()
        .First(attribute => attribute.Key == key).Value!;

    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>Bytes that this process has caused to be written to devices, including pages not yet flushed.</summary>
    public static long WrittenBytes() => File.ReadLines("/proc/self/io")
        .Where(line => line.StartsWith("write_bytes:", StringComparison.Ordinal))
        .Select(line => long.Parse(line.AsSpan("write_bytes:".Length), CultureInfo.InvariantCulture))
        .Single();

    public static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToList();
        return (sorted[(sorted.Count - 1) / 2] + sorted[sorted.Count / 2]) / 2;
    }
}
