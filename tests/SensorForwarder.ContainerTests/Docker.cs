using System.Diagnostics;
using System.Reflection;
using System.Runtime.Versioning;
using SensorForwarder.ContainerTests;
using Xunit.Sdk;
using Xunit.v3;

[assembly: SupportedOSPlatform("linux")]
[assembly: AssemblyFixture(typeof(ModuleImage))]
// Each test starts several containers, too many to run in parallel on two cores.
[assembly: Parallelization(Mode = ParallelMode.None)]

namespace SensorForwarder.ContainerTests;

/// <summary>Runs docker commands for which Testcontainers has no API.</summary>
static class Docker
{
    public const string RuntimeImage = "sensorforwarder-tests/runtime";
    public const string SdkImage = "sensorforwarder-tests/sdk";

    public static string Root { get; } = Metadata("RepositoryRoot");

    public static string SimulatorFolder { get; } = Metadata("SimulatorFolder");

    /// <summary>Why the tests cannot run on this machine. Null if they can.</summary>
    public static async Task<string?> MissingAsync()
    {
        try
        {
            await RunAsync("image", "inspect", RuntimeImage, SdkImage);
            return null;
        }
        catch (Exception exception) when (exception is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return $"no Docker engine or no base images; ./tests/run sets up both ({exception.Message.Trim()})";
        }
    }

    /// <summary>Runs a docker command and returns its output.</summary>
    /// <exception cref="InvalidOperationException">The command failed; the message is its output.</exception>
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
