using System.Diagnostics;
using System.Reflection;
using System.Runtime.Versioning;
using SensorForwarder.ContainerTests;
using Xunit.Sdk;
using Xunit.v3;

[assembly: SupportedOSPlatform("linux")]
[assembly: AssemblyFixture(typeof(ModuleImage))]
// Each test has several containers, and the machine of a developer two cores.
[assembly: Parallelization(Mode = ParallelMode.None)]

namespace SensorForwarder.ContainerTests;

/// <summary>The Docker engine, and what Testcontainers has no call for.</summary>
static class Docker
{
    public const string RuntimeImage = "sensorforwarder-tests/runtime";
    public const string SdkImage = "sensorforwarder-tests/sdk";

    public static string Root { get; } = Metadata("RepositoryRoot");

    public static string SimulatorFolder { get; } = Metadata("SimulatorFolder");

    /// <summary>Why the tests can't run here; null when they can.</summary>
    public static async Task<string?> MissingAsync()
    {
        try
        {
            await RunAsync("image", "inspect", RuntimeImage, SdkImage);
            return null;
        }
        catch (Exception exception) when (exception is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return $"no Docker engine with the base images of these tests; ./tests/run sets both up ({exception.Message.Trim()})";
        }
    }

    /// <summary>Runs the command line client and returns what it printed.</summary>
    /// <exception cref="InvalidOperationException">It failed; the message is what it said.</exception>
    public static async Task<string> RunAsync(params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("docker", arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return process.ExitCode == 0 ? await output : throw new InvalidOperationException($"docker {arguments[0]}: {await error}{await output}");
    }

    static string Metadata(string key) =>
        Assembly.GetExecutingAssembly().GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == key).Value!;
}
