using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.Json.Nodes;
using EdgeSimulator.Accounting;
using EdgeSimulator.Api;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Http;
using EdgeSimulator.Hub;
using EdgeSimulator.Metrics;
using EdgeSimulator.Modules;
using EdgeSimulator.Twins;
using EdgeSimulator.Workload;
using Spectre.Console;

namespace EdgeSimulator.Runs;

/// <summary>One run: creates and starts all parts, waits for the end of the run, and stops them.</summary>
/// <param name="options">The command line.</param>
/// <param name="time">The clock of all parts.</param>
/// <param name="output">Receives events and the verdict.</param>
/// <param name="console">The terminal for the live display. Null: plain lines.</param>
/// <param name="exports">Receives the environment for a module started by hand.</param>
/// <param name="stopRequested">Ends the run gracefully.</param>
internal sealed class Simulation(
    RunOptions options, TimeProvider time, TextWriter output, IAnsiConsole? console, TextWriter exports, CancellationToken stopRequested)
{
    static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(10);

    /// <summary>Returns the exit code.</summary>
    /// <param name="abortRequested">Ends the run without waiting for readings or the module.</param>
    public async Task<int> RunAsync(CancellationToken abortRequested)
    {
        // The surroundings: address, directories, module identity, certificates.
        using var address = GatewayAddress.Reserve(options.Address);
        using var directory = new TemporaryDirectory();
        var data = options.DataDirectory ?? directory.Sub("data");
        RequireWritable("--data", data);
        RequireWritable("--report", Path.GetDirectoryName(options.ReportFile));
        var identity = new ModuleIdentity
        {
            HubHost = "edge-simulator.azure-devices.net",
            GatewayHost = address.HostName,
            DeviceId = options.DeviceId,
            ModuleId = options.ModuleId,
            GenerationId = time.GetUtcNow().Ticks.ToString(CultureInfo.InvariantCulture),
            Key = RandomNumberGenerator.GetBytes(32),
        };
        using var certificates = new ServerCertificates(address.Address, time);

        // The state: faults, twin, and the ledger of what has arrived.
        var log = new RunLog(time);
        var faults = new FaultSwitches();
        var twin = new ModuleTwin(options.Desired);
        var ledger = new Ledger(time);
        var recent = new RecentMessages(time);

        var metrics = new HubMetrics(identity);
        var check = options.SkipSchemas ? null : new MessageCheck(log);
        using var upstream = new Upstream(ledger, recent, options.Routes, faults, metrics, time, log, check);

        // The servers.
        using var listener = new GatewayListener(address.Address, certificates, faults, time, log);
        var sender = options.SenderId is null ? null : identity with { ModuleId = options.SenderId, Key = RandomNumberGenerator.GetBytes(32) };
        using var hub = new EdgeHubServer(identity, listener, twin, upstream, metrics, faults, time, log, sender);
        await using var workload = new WorkloadApi(directory.Sub("workload.sock"), identity, certificates.TrustBundle, faults);

        await using var page = new MetricsPage(upstream, faults);
        await page.StartAsync(abortRequested).ConfigureAwait(false);
        await using var http = options.Http ? new TelemetryEndpoint(ledger, recent, faults, time, check) : null;

        // The module and the scheduled events.
        var authorityFile = directory.Sub("edge-device-ca.cert.pem");
        await File.WriteAllTextAsync(authorityFile, certificates.TrustBundle, abortRequested).ConfigureAwait(false);
        var environment = ModuleEnvironment.With(
            ModuleEnvironment.For(identity, options.Identity, workload.SocketPath, authorityFile, data, FreePort(), page.Url),
            options.Environment);
        using var module = options.ModulePath is null ? null : new ModuleProcess(
            options.ModulePath, environment, ModuleProcess.RestartDelay, time, log);
        var schedules = new Schedules(faults, time, log);
        await using IAsyncDisposable display = console is null
            ? new PlainDisplay(output, log, Snapshot, time)
            : new TerminalDisplay(console, log, Snapshot, time);
        Figures Snapshot()
        {
            var (unique, received, messages, bytes, last) = ledger.Progress();
            return new Figures
            {
                Connected = hub.IsConnected,
                Blackout = faults.Current.Blackout,
                BlackoutLeft = schedules.BlackoutLeft,
                Unique = unique,
                Received = received,
                Messages = messages,
                Bytes = bytes,
                Restarts = module?.Restarts ?? 0,
                TwinVersion = twin.DesiredVersion,
                Last = last,
            };
        }

        await using var api = options.ApiPort is { } port ? new RestApi(
            port, identity, twin, new MethodCalls(hub, time), hub.Inputs, recent,
            new FaultCommands(faults, FaultActions(hub, upstream, http, module), log),
            () => Report(upstream, check, module, log, "running", "the run has not ended").ToJson()) : null;
        await StartAsync(workload, hub, http, api, abortRequested).ConfigureAwait(false);
        if (http is not null)
        {
            twin.PatchDesired(new JsonObject { ["sink"] = "http", ["httpEndpoint"] = http.Url });
        }

        log.Write($"edgeHub for {identity.ClientId} at {address.HostName}:{GatewayAddress.Port} ({address.Address})");
        if (sender is not null)
        {
            log.Write("for module " + sender.ClientId + ": " + string.Join(' ', ModuleEnvironment.ConnectionString(sender, authorityFile)
                .Select(variable => $"{variable.Key}='{variable.Value}'")));
        }

        if (module is null)
        {
            foreach (var (name, value) in environment)
            {
                exports.WriteLine($"export {name}='{value}'");
            }

            log.Write("no module started; start one with the printed environment");
        }
        else
        {
            log.Write($"starting {options.ModulePath}, data in {data}");
            hub.Connected += module.HasConnected;
            module.Ending += end => hub.ExpectEnd(Causes.Of(end));
            module.Ended += end =>
            {
                hub.ExpectEnd(Causes.Of(end));
                ledger.ModuleEnded(Causes.Of(end));
                http?.Cut(Causes.Of(end));
            };
        }

        var outcome = await RunModuleAsync(hub, upstream, module, schedules, faults, check, log, abortRequested)
            .ConfigureAwait(false);
        await hub.StopAsync().ConfigureAwait(false);
        var report = Report(upstream, check, module, log, outcome.ExitReason, outcome.Verdict);
        await display.DisposeAsync().ConfigureAwait(false);
        VerdictText.Write(output, report, outcome.Succeeded);
        if (options.ReportFile is not null)
        {
            await File.WriteAllTextAsync(options.ReportFile, report.ToJson() + "\n", CancellationToken.None).ConfigureAwait(false);
        }

        return outcome.Succeeded ? 0 : 1;
    }

    /// <summary>The one-time actions of POST /faults.</summary>
    static Dictionary<string, Action> FaultActions(
        EdgeHubServer hub, Upstream upstream, TelemetryEndpoint? http, ModuleProcess? module)
    {
        var actions = new Dictionary<string, Action>
        {
            ["cut"] = () =>
            {
                hub.Cut(Causes.CutOnCommand);
                http?.Cut(Causes.CutOnCommand);
            },
            ["restartHub"] = hub.Restart,
            ["loseOne"] = upstream.LoseOne,
        };
        if (module is not null)
        {
            actions["kill"] = () => module.Kill();
        }

        return actions;
    }

    static RunReport Report(
        Upstream upstream, MessageCheck? check, ModuleProcess? module, RunLog log, string exitReason, string verdict) => RunReport.From(
        upstream.Ledger.Summary(), exitReason, verdict, upstream.Restarts, check?.Count,
        (module?.Restarts ?? 0, module?.Kills ?? 0, module?.UnexpectedExits ?? 0, module?.ExitCode), log.Elapsed);

    async Task StartAsync(
        WorkloadApi workload, EdgeHubServer hub, TelemetryEndpoint? http, RestApi? api, CancellationToken cancellationToken)
    {
        await workload.StartAsync(cancellationToken).ConfigureAwait(false);
        await hub.StartAsync().ConfigureAwait(false);
        if (http is not null)
        {
            await http.StartAsync(cancellationToken).ConfigureAwait(false);
        }

        if (api is not null)
        {
            try
            {
                await api.StartAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (IOException exception)
            {
                throw new InvalidOperationException($"--api {options.ApiPort}: {exception.Message}; choose another port", exception);
            }
        }
    }

    async Task<RunOutcome> RunModuleAsync(
        EdgeHubServer hub, Upstream upstream, ModuleProcess? module, Schedules schedules, FaultSwitches faults,
        MessageCheck? check, RunLog log, CancellationToken abortRequested)
    {
        using var runEnd = CancellationTokenSource.CreateLinkedTokenSource(stopRequested);
        if (options.Duration is { } duration)
        {
            runEnd.CancelAfter(duration);
        }

        var running = module?.RunAsync(abortRequested) ?? NeverAsync(abortRequested);
        Task[] events =
        [
            schedules.BlackOutAsync(options.Blackouts, runEnd.Token),
            schedules.RepeatAsync(options.HubRestarts, hub.Restart, runEnd.Token),
            schedules.RepeatAsync(options.HubDrops, upstream.LoseOne, runEnd.Token),
            module is not null && options.KillEvery is { } interval
                ? schedules.KillAsync(module, interval, runEnd.Token)
                : Task.CompletedTask,
        ];
        try
        {
            var ended = Task.Delay(Timeout.InfiniteTimeSpan, time, runEnd.Token);
            if (await Task.WhenAny(running, ended).ConfigureAwait(false) == running)
            {
                return ModuleEndedEarly(await running.ConfigureAwait(false), module);
            }

            await Task.WhenAll(events).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            schedules.EndBlackout();
            faults.Update(fault => fault with { Cloud = Cloud.Reachable, HubStopped = false });
            var closing = new Closing(hub, upstream.Ledger, module is not null, time, log, check);
            var draining = closing.DrainAsync(abortRequested);
            if (await Task.WhenAny(running, draining).ConfigureAwait(false) == running)
            {
                return ModuleEndedEarly(await running.ConfigureAwait(false), module);
            }

            var problem = await draining.ConfigureAwait(false);
            int? exitCode = null;
            if (module is not null)
            {
                log.Write("closing: sending SIGTERM to the module");
                exitCode = await module.StopAsync(StopTimeout, abortRequested).ConfigureAwait(false);
                log.Write(exitCode is null
                    ? $"closing: the module did not stop within {StopTimeout.TotalSeconds} s and was killed"
                    : $"closing: the module exited with code {exitCode}");
            }

            return problem ?? closing.Judge(exitCode);
        }
        catch (OperationCanceledException) when (abortRequested.IsCancellationRequested)
        {
            return new RunOutcome("cancelled", "aborted by a second signal before all readings had arrived");
        }
        finally
        {
            await runEnd.CancelAsync().ConfigureAwait(false);
        }
    }

    static RunOutcome ModuleEndedEarly(bool gaveUp, ModuleProcess? module) => gaveUp
        ? new RunOutcome("moduleExited", $"the module exited {ModuleProcess.QuickExitsMax} times without connecting, the last time " +
            $"with code {module?.ExitCode}")
        : new RunOutcome("moduleExited", $"the module exited with code {module?.ExitCode} before it was stopped");

    static async Task<bool> NeverAsync(CancellationToken cancellationToken)
    {
        await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, cancellationToken).ConfigureAwait(false);
        return false;
    }

    /// <summary>Checks at the start that the option's directory can be written, instead of failing after the
    /// run.</summary>
    static void RequireWritable(string option, string? directory)
    {
        if (directory is null)
        {
            return;
        }

        try
        {
            Directory.CreateDirectory(directory);
            using var probe = new FileStream(
                Path.Combine(directory, $".{Guid.NewGuid():N}"), FileMode.CreateNew, FileAccess.Write, FileShare.None, 1, FileOptions.DeleteOnClose);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new InvalidOperationException(
                $"{option}: cannot write to '{directory}': {exception.Message}", exception);
        }
    }

    static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
