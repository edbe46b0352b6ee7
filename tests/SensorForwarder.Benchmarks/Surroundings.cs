using System.Net;
using System.Net.Sockets;
using System.Reflection;

namespace SensorForwarder.Benchmarks;

/// <summary>What several benchmarks need of the machine and of this build.</summary>
internal static class Surroundings
{
    /// <summary>The module's program. The environment variable SENSORFORWARDER_MODULE names another build of it: the native one.</summary>
    public static string ModulePath { get; } = Environment.GetEnvironmentVariable("SENSORFORWARDER_MODULE") ?? PathOf("ModulePath");

    /// <summary>Which build that is, for the report: what the framework compiles while it runs is slower and larger.</summary>
    public static string ModuleBuild { get; } = File.Exists(ModulePath + ".dll") ? "JIT build" : "native build";

    /// <summary>A path that the project file noted.</summary>
    public static string PathOf(string key) => Assembly.GetExecutingAssembly()
        .GetCustomAttributes<AssemblyMetadataAttribute>()
        .First(attribute => attribute.Key == key).Value!;

    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    public static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToList();
        return (sorted[(sorted.Count - 1) / 2] + sorted[sorted.Count / 2]) / 2;
    }
}
