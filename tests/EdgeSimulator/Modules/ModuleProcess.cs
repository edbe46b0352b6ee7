using System.Diagnostics;
using System.Runtime.InteropServices;
using EdgeSimulator.Display;

namespace EdgeSimulator.Modules;

/// <summary>Why a module's process ends.</summary>
internal enum ModuleEnd
{
    Killed,
    Stopped,

    /// <summary>By itself, which nobody asked for.</summary>
    Exited,
}

/// <summary>Starts the module as a child process, again when it ends, and kills it when told: edgeAgent's part.</summary>
internal sealed partial class ModuleProcess : IDisposable
{
    /// <summary>Exits in a row without ever having connected after which it is given up.</summary>
    public const int QuickExitsMax = 5;

    /// <summary>How long after an exit of its own it is started again.</summary>
    public static readonly TimeSpan RestartDelay = TimeSpan.FromSeconds(1);

    static readonly TimeSpan LastLinesPatience = TimeSpan.FromMilliseconds(500);
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

    /// <summary>The module's process is gone.</summary>
    public event Action<ModuleEnd>? Ended;

    public int Kills { get; private set; }

    public int UnexpectedExits { get; private set; }

    public int Starts { get; private set; }

    public int Restarts => Math.Max(0, Starts - 1);

    /// <summary>The exit code of the process that ended last.</summary>
    public int? ExitCode { get; private set; }

    /// <summary>It has connected, so it is not to be given up.</summary>
    public void HasConnected() => Interlocked.Exchange(ref _quickExits, 0);

    /// <summary>Keeps it running until it is stopped or given up. Returns true if it was given up.</summary>
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
            _log.Write($"the module exited by itself with code {process.ExitCode}; it is started again in {_restartDelay.TotalSeconds} s");
            if (Interlocked.Increment(ref _quickExits) >= QuickExitsMax)
            {
                _log.Write($"given up: {QuickExitsMax} exits without a connection in between");
                return true;
            }

            await Task.Delay(_restartDelay, _time, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>SIGKILL: as when the power goes. It is started again at once.</summary>
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

    /// <summary>SIGTERM, and SIGKILL if it is still there after <paramref name="patience"/>. Returns the exit code, or null if it
    /// had to be killed.</summary>
    public async Task<int?> StopAsync(TimeSpan patience, CancellationToken cancellationToken)
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
            _log.Write($"SIGTERM could not be sent to process {process.Id}: errno {Marshal.GetLastPInvokeError()}");
        }

        using var timeout = new CancellationTokenSource(patience, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
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
        // In a session of its own, so that Ctrl+C in the terminal reaches the simulator only, which then ends the run in order.
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

    /// <summary>Waits for the end of the process, and a moment for its last lines. <see cref="Process.WaitForExitAsync"/> alone would
    /// wait for the end of its output too, which a child of the module may hold open for ever.</summary>
    async Task ExitedAsync(Process process, CancellationToken cancellationToken)
    {
        var exited = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        process.Exited += (_, _) => exited.TrySetResult();
        if (process.HasExited)
        {
            exited.TrySetResult();
        }

        await exited.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        using var patience = new CancellationTokenSource(LastLinesPatience, _time);
        await process.WaitForExitAsync(patience.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    void Pass(string? line)
    {
        if (line is not null)
        {
            _log.WriteModuleLine(line);
        }
    }

    /// <summary>A real edge device's identity in the simulator's own environment must not reach the module.</summary>
    static bool IsIotEdge(string name) =>
        name.StartsWith("IOTEDGE_", StringComparison.OrdinalIgnoreCase) || name is "EdgeHubConnectionString" or "IotHubConnectionString";
}
