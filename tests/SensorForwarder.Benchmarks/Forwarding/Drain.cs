using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using SensorForwarder.Benchmarks.EdgeHub;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>Result of draining a backlog.</summary>
/// <param name="PerSecond">Readings per second, without the first 20,000.</param>
/// <param name="Microseconds">CPU time of the module per reading; depends less on other load than the rate.</param>
/// <param name="IdleMegabytes">Resident memory before the drain, with the backlog stored and no reachable
/// receiver.</param>
/// <param name="PeakMegabytes">Peak resident memory since then.</param>
internal readonly record struct Drained(
    double PerSecond, double Microseconds, double IdleMegabytes, double PeakMegabytes)
{
    public double MegabytesOverIdle => PeakMegabytes - IdleMegabytes;
}

/// <summary>Runs the module as a process that drains a backlog to a receiver in this process. The module gets a
/// reachable receiver only once its memory use is stable; the growth from there is measured by the kernel's peak
/// value.</summary>
internal static class Drain
{
    /// <summary>Number of waiting readings.</summary>
    public const int Backlog = 1_000_000;

    const int WarmUp = 20_000;
    const int Measured = 950_000;
    const int Sigterm = 15;
    static readonly TimeSpan Look = TimeSpan.FromMilliseconds(5);
    static readonly TimeSpan Steady = TimeSpan.FromSeconds(5);

    /// <summary>Drains to an HTTP receiver, one request at a time.</summary>
    /// <param name="directory">Contains the backlog, of which almost <see cref="Backlog"/> readings are
    /// drained.</param>
    public static async Task<Drained> ToHttpAsync(string directory, CancellationToken cancellationToken)
    {
        using var server = new CountingServer();
        return await RunAsync(
            directory, () => true, () => server.ReadingsThrough, new() { ["httpEndpoint"] = server.Url }, [], cancellationToken);
    }

    /// <summary>Drains to a hub over MQTT with TLS. The module is connected before the drain starts.</summary>
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
        // An endpoint without a listener. Without an endpoint, the module would reject the setting and send to the hub.
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
            if (through() > 0) throw new InvalidOperationException($"the module sent too early, up to id {through()}");
            await File.WriteAllTextAsync($"/proc/{module.Id}/clear_refs", "5", cancellationToken); // resets VmHWM
            foreach (var (key, value) in opening) settings[key] = value!.DeepClone();
            await File.WriteAllTextAsync(file + ".new", settings.ToJsonString(), cancellationToken);
            File.Move(file + ".new", file, overwrite: true);

            while (through() == 0) await WaitAsync(Look, module, cancellationToken);
            var first = through();
            while (through() < first + WarmUp) await WaitAsync(Look, module, cancellationToken);
            var (before, clock, used) = (through(), Stopwatch.StartNew(), Cpu(module));
            while (through() - before < Measured) await WaitAsync(Look, module, cancellationToken);
            var (drained, took) = (through() - before, clock.Elapsed);
            return new(
                drained / took.TotalSeconds, (Cpu(module) - used).TotalMicroseconds / drained, idle,
                Megabytes(module, "VmHWM:"));
        }
        finally
        {
            // Stopped gracefully: after a kill, the next run would check the file while it drains.
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
        var module = Process.Start(start) ?? throw new InvalidOperationException($"cannot start {ModulePath}");
        module.BeginOutputReadLine(); // Discards the module's log.
        return module;
    }

    /// <summary>Resident memory, once it has not grown for a while.</summary>
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
        ? throw new InvalidOperationException($"the module exited with code {module.ExitCode}")
        : Task.Delay(time, TimeProvider.System, cancellationToken);

    static TimeSpan Cpu(Process module)
    {
        module.Refresh();
        return module.TotalProcessorTime;
    }

    static double Megabytes(Process module, string field)
    {
        var line = File.ReadLines($"/proc/{module.Id}/status").First(line => line.StartsWith(field, StringComparison.Ordinal));
        return long.Parse(line[field.Length..].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture) / 1024.0;
    }

    [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
    static extern int Kill(int processId, int signal);
}
