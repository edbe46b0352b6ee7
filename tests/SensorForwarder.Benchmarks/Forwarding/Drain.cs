using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using SensorForwarder.Benchmarks.EdgeHub;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>What a drain took.</summary>
/// <param name="PerSecond">Readings a second, without the first 20,000.</param>
/// <param name="IdleMegabytes">What was resident before, with the backlog on the medium and nowhere to send it.</param>
/// <param name="PeakMegabytes">The most that was resident since.</param>
internal readonly record struct Drained(double PerSecond, double IdleMegabytes, double PeakMegabytes)
{
    public double MegabytesOverIdle => PeakMegabytes - IdleMegabytes;
}

/// <summary>The module as a process, as it is shipped, and a backlog that it drains to a receiver of this process. It has
/// nowhere to send to until its memory is steady; what that grows by is what the kernel says, at the highest.</summary>
internal static class Drain
{
    /// <summary>Readings that have to wait.</summary>
    public const int Backlog = 1_000_000;

    const int WarmUp = 20_000;
    const int Measured = 950_000;
    const int Sigterm = 15;
    static readonly TimeSpan Look = TimeSpan.FromMilliseconds(5);
    static readonly TimeSpan Steady = TimeSpan.FromSeconds(5);

    /// <summary>To an HTTP receiver, one request at a time.</summary>
    /// <param name="directory">Holds the backlog, of which nearly <see cref="Backlog"/> are drained.</param>
    public static async Task<Drained> ToHttpAsync(string directory, CancellationToken cancellationToken)
    {
        using var server = new CountingServer();
        return await RunAsync(
            directory, () => true, () => server.ReadingsThrough, new() { ["httpEndpoint"] = server.Url }, [], cancellationToken);
    }

    /// <summary>To a hub over MQTT with TLS; the connection stands before anything may be sent.</summary>
    public static async Task<Drained> ToHubAsync(string directory, CancellationToken cancellationToken)
    {
        using var server = PubackServer.Start(directory);
        var hub = server.Identity;
        var key = Convert.ToBase64String(hub.SharedAccessKey!.Value.Span);
        return await RunAsync(
            directory, () => server.HasModule, () => server.ReadingsThrough, new() { ["sink"] = "iothub" },
            new()
            {
                ["EdgeHubConnectionString"] =
                    $"HostName={hub.HubHostName};GatewayHostName={hub.GatewayHostName};DeviceId={hub.DeviceId};ModuleId={hub.ModuleId};SharedAccessKey={key}",
                ["EdgeModuleCACertificateFile"] = hub.Tls.Roots!.Path,
                ["EdgeHub__Transport"] = "mqtt",
            },
            cancellationToken);
    }

    static async Task<Drained> RunAsync(
        string directory, Func<bool> isConnected, Func<long> through, JsonObject opening, Dictionary<string, string> environment,
        CancellationToken cancellationToken)
    {
        // Nobody is there: where a hub is, a sink without an endpoint would be refused, and the hub be the sink.
        var settings = new JsonObject
        {
            ["sink"] = "http",
            ["httpEndpoint"] = $"http://127.0.0.1:{FreePort()}/",
            ["batchSize"] = 500,
            ["bufferMaxMegabytes"] = 8_192,
        };
        var file = Path.Combine(directory, "settings.json");
        await File.WriteAllTextAsync(file, settings.ToJsonString(), cancellationToken);
        using var module = Start(directory, file, environment);
        try
        {
            while (!isConnected()) await WaitAsync(Look, module, cancellationToken);
            var idle = await SteadyMegabytesAsync(module, cancellationToken);
            if (through() > 0) throw new InvalidOperationException($"the module sends before it may, up to reading {through()}");
            await File.WriteAllTextAsync($"/proc/{module.Id}/clear_refs", "5", cancellationToken); // the highest begins anew
            foreach (var (key, value) in opening) settings[key] = value!.DeepClone();
            await File.WriteAllTextAsync(file + ".new", settings.ToJsonString(), cancellationToken);
            File.Move(file + ".new", file, overwrite: true);

            while (through() == 0) await WaitAsync(Look, module, cancellationToken);
            var first = through();
            while (through() < first + WarmUp) await WaitAsync(Look, module, cancellationToken);
            var (before, clock) = (through(), Stopwatch.StartNew());
            while (through() - before < Measured) await WaitAsync(Look, module, cancellationToken);
            return new((through() - before) / clock.Elapsed.TotalSeconds, idle, Megabytes(module, "VmHWM:"));
        }
        finally
        {
            // Not killed: after that the next run would check the file beside its work.
            if (!module.HasExited) _ = Kill(module.Id, Sigterm);
            await module.WaitForExitAsync(CancellationToken.None);
        }
    }

    static Process Start(string directory, string settingsFile, Dictionary<string, string> environment)
    {
        var start = new ProcessStartInfo(ModulePath) { RedirectStandardOutput = true };
        foreach (var (name, value) in environment) start.Environment[name] = value;
        start.Environment["Buffer__Directory"] = directory;
        start.Environment["Settings__File"] = settingsFile;
        start.Environment["Web__Port"] = FreePort().ToString(CultureInfo.InvariantCulture);
        var module = Process.Start(start) ?? throw new InvalidOperationException($"{ModulePath} could not be started");
        module.BeginOutputReadLine(); // read and left out: the report is a table
        return module;
    }

    /// <summary>What is resident once that has not grown for a while.</summary>
    static async Task<double> SteadyMegabytesAsync(Process module, CancellationToken cancellationToken)
    {
        var (most, clock) = (0.0, Stopwatch.StartNew());
        while (clock.Elapsed < Steady)
        {
            if (Megabytes(module, "VmRSS:") is var now && now > most)
            {
                most = now;
                clock.Restart();
            }

            await WaitAsync(TimeSpan.FromMilliseconds(100), module, cancellationToken);
        }

        return Megabytes(module, "VmRSS:");
    }

    static Task WaitAsync(TimeSpan time, Process module, CancellationToken cancellationToken) => module.HasExited
        ? throw new InvalidOperationException($"the module ended with {module.ExitCode}")
        : Task.Delay(time, TimeProvider.System, cancellationToken);

    static double Megabytes(Process module, string field)
    {
        var line = File.ReadLines($"/proc/{module.Id}/status").First(line => line.StartsWith(field, StringComparison.Ordinal));
        return long.Parse(line[field.Length..].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture) / 1024.0;
    }

    [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
    static extern int Kill(int processId, int signal);
}
