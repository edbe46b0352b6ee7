using System.Diagnostics;
using System.Runtime.InteropServices;
using EdgeSimulator.Display;

namespace EdgeSimulator.Modules;

/// <summary>Why the module's process ended.</summary>
internal enum ModuleEnd
{
    Killed,
    Stopped,

    /// <summary>It exited without a signal from the simulator.</summary>
    Exited,
}

/// <summary>Runs the module as a child process: starts, restarts, kills and stops it, as edgeAgent does. Kill and stop
/// may be called from any thread.</summary>
internal sealed partial class ModuleProcess : IDisposable
{
    /// <summary>Number of consecutive exits without a connection after which the module is no longer
    /// restarted.</summary>
    public const int QuickExitsMax = 5;

    /// <summary>Delay before the restart after an unexpected exit.</summary>
    public static readonly TimeSpan RestartDelay = TimeSpan.FromSeconds(1);

    static readonly TimeSpan LastLinesTimeout = TimeSpan.FromMilliseconds(500);
    const int SigTerm = 15;
    const string SetSid = "/usr/bin/setsid";

    readonly string _path;
    readonly IReadOnlyList<KeyValuePair<string, string>> _environment;
    readonly TimeSpan _restartDelay;
    readonly TimeProvider _time;
    readonly RunLog _log;
    readonly Lock _lock = new();
    Process? _process;
    bool _killing;
    bool _stopping;
    int _quickExits;

    public ModuleProcess(
        string path, IReadOnlyList<KeyValuePair<string, string>> environment, TimeSpan restartDelay, TimeProvider time,
        RunLog log)
    {
        _restartDelay = restartDelay;
        _path = path;
        _environment = environment;
        _time = time;
        _log = log;
    }

    /// <summary>The module is about to be killed or stopped.</summary>
    public event Action<ModuleEnd>? Ending;

    /// <summary>The module's process has ended.</summary>
    public event Action<ModuleEnd>? Ended;

    public int Kills { get; private set; }

    public int UnexpectedExits { get; private set; }

    public int Starts { get; private set; }

    public int Restarts => Math.Max(0, Starts - 1);

    /// <summary>The exit code of the latest process that ended.</summary>
    public int? ExitCode { get; private set; }

    /// <summary>Resets the count of exits without a connection. Called when the module connects.</summary>
    public void HasConnected() => Interlocked.Exchange(ref _quickExits, 0);

    /// <summary>Restarts the module whenever it ends, until <see cref="StopAsync"/> (returns false) or after
    /// <see cref="QuickExitsMax"/> exits without a connection (returns true).</summary>
    public async Task<bool> RunAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            Process process;
            lock (_lock)
            {
                if (_stopping)
                {
                    return false;
                }

                process = Start();
                _process = process;
                _killing = false;
                Starts++;
            }

            await ExitedAsync(process, cancellationToken).ConfigureAwait(false);
            ExitCode = process.ExitCode;
            bool killed;
            bool stopping;
            lock (_lock)
            {
                (killed, stopping) = (_killing, _stopping);
            }

            Ended?.Invoke(stopping ? ModuleEnd.Stopped : killed ? ModuleEnd.Killed : ModuleEnd.Exited);
            if (stopping)
            {
                return false;
            }

            if (killed)
            {
                continue;
            }

            UnexpectedExits++;
            _log.Write($"the module exited unexpectedly with code {process.ExitCode}");
            if (Interlocked.Increment(ref _quickExits) >= QuickExitsMax)
            {
                _log.Write($"the module exited {QuickExitsMax} times without connecting; not restarting it");
                return true;
            }

            await Task.Delay(_restartDelay, _time, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Sends SIGKILL, which resembles a power cut. The module is restarted at once.</summary>
    public bool Kill()
    {
        lock (_lock)
        {
            if (_stopping || _process is null || _process.HasExited)
            {
                return false;
            }

            _killing = true;
            Kills++;
            Ending?.Invoke(ModuleEnd.Killed);
            _process.Kill();
            return true;
        }
    }

    /// <summary>Sends SIGTERM, and SIGKILL after <paramref name="timeout"/>. Returns the exit code, or null if the
    /// module was killed.</summary>
    public async Task<int?> StopAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        Process? process;
        lock (_lock)
        {
            _stopping = true;
            process = _process;
        }

        if (process is null)
        {
            return null;
        }

        if (process.HasExited)
        {
            return process.ExitCode;
        }

        Ending?.Invoke(ModuleEnd.Stopped);
        if (SendSignal(process.Id, SigTerm) != 0)
        {
            _log.Write($"cannot send SIGTERM to process {process.Id}: errno {Marshal.GetLastPInvokeError()}");
        }

        using var expiry = new CancellationTokenSource(timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(expiry.Token, cancellationToken);
        try
        {
            await ExitedAsync(process, either.Token).ConfigureAwait(false);
            return process.ExitCode;
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            return null;
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _stopping = true;
            if (_process is { HasExited: false })
            {
                _process.Kill();
            }

            _process?.Dispose();
        }
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int SendSignal(int processId, int signal);

    Process Start()
    {
        // Started in a new session, so that Ctrl+C in the terminal reaches only the simulator, which then stops the
        // module.
        var command = new List<string>();
        if (File.Exists(SetSid))
        {
            command.Add(SetSid);
        }

        if (_path.EndsWith(".dll", StringComparison.OrdinalIgnoreCase))
        {
            command.Add(Environment.ProcessPath is { } host && Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet");
        }

        command.Add(_path);
        var start = new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var name in start.Environment.Keys.Where(IsIotEdge).ToList())
        {
            start.Environment.Remove(name);
        }

        foreach (var (name, value) in _environment)
        {
            start.Environment[name] = value;
        }

        var process = new Process { StartInfo = start, EnableRaisingEvents = true };
        process.OutputDataReceived += (_, e) => Pass(e.Data);
        process.ErrorDataReceived += (_, e) => Pass(e.Data);
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    /// <summary>Waits for the process to exit, then briefly for its last lines. <see cref="Process.WaitForExitAsync"/>
    /// alone also waits for the end of the output, which a child of the module may hold open indefinitely.</summary>
    async Task ExitedAsync(Process process, CancellationToken cancellationToken)
    {
        var exited = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        process.Exited += (_, _) => exited.TrySetResult();
        if (process.HasExited)
        {
            exited.TrySetResult();
        }

        await exited.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        using var timeout = new CancellationTokenSource(LastLinesTimeout, _time);
        await process.WaitForExitAsync(timeout.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    void Pass(string? line)
    {
        if (line is not null)
        {
            _log.WriteModuleLine(line);
        }
    }

    /// <summary>Whether the module must not inherit the variable, since it holds the identity of a real edge
    /// device.</summary>
    static bool IsIotEdge(string name) =>
        name.StartsWith("IOTEDGE_", StringComparison.OrdinalIgnoreCase) || name is "EdgeHubConnectionString" or "IotHubConnectionString";
}
