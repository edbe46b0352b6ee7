using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>A real process whose output lines are collected. DisposeAsync kills it if it still runs, and then checks that everything the module
/// logged, directly or through the simulator, consists of valid log lines.</summary>
internal sealed class ChildProcess : IAsyncDisposable
{
    const int Sigterm = 15;

    // Variables that another IoT Edge module or a developer's shell may have set; the child must not inherit them.
    static readonly string[] Unwanted = ["EdgeHubConnectionString", "IotHubConnectionString", "IOTEDGE_WORKLOADURI"];

    // The simulator's prefix of a line of its module.
    const string OfModule = "   module | ";

    readonly Process _process;
    readonly DirectoryInfo _temporary;
    readonly Func<string, string?> _logLine;
    readonly List<string> _lines = [];

    ChildProcess(Process process, DirectoryInfo temporary, Func<string, string?> logLine)
    {
        (_process, _temporary, _logLine) = (process, temporary, logLine);
        process.OutputDataReceived += (_, line) => Add(line.Data);
        process.ErrorDataReceived += (_, line) => Add(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    /// <summary>The resident memory.</summary>
    public long MemoryBytes
    {
        get
        {
            _process.Refresh();
            return _process.WorkingSet64;
        }
    }

    /// <summary>The names of its threads; the kernel keeps 15 characters of each.</summary>
    public IReadOnlyList<string> ThreadNames =>
        [.. Directory.GetDirectories($"/proc/{_process.Id}/task").Select(NameOf)];

    public bool IsRunning => !_process.HasExited;

    public int Id => _process.Id;

    /// <summary>The program that <see cref="StartModule(ValueTuple{string, string}[])"/> starts.</summary>
    public static string ModulePath => PathOf("ModulePath");

    public IReadOnlyList<string> Lines
    {
        get { lock (_lines) return [.. _lines]; }
    }

    /// <summary>Starts the module with an option; its output is not a log.</summary>
    public static ChildProcess StartModule(string[] arguments, params (string Name, string Value)[] environment) =>
        Start(PathOf("ModulePath"), arguments, environment);

    public static ChildProcess StartModule(params (string Name, string Value)[] environment) =>
        Start(PathOf("ModulePath"), [], environment, line => line);

    public static ChildProcess StartSimulator(params string[] arguments) => Start(
        PathOf("EdgeSimulatorPath"), arguments, [], line => line.StartsWith(OfModule, StringComparison.Ordinal) ? line[OfModule.Length..] : null);

    public static ChildProcess StartPostgresReceiver(params (string Name, string Value)[] environment) =>
        Start(PathOf("PostgresReceiverPath"), [], environment);

    /// <param name="path">The program file.</param>
    /// <param name="arguments">The command line.</param>
    /// <param name="environment">Variables added to those of this process.</param>
    /// <param name="logLine">Returns the part of an output line that the module has logged; null: none.</param>
    public static ChildProcess Start(string path, string[] arguments, (string Name, string Value)[] environment, Func<string, string?>? logLine = null)
    {
        var start = new ProcessStartInfo(path, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var name in Unwanted) start.Environment.Remove(name);

        // A killed process leaves its temporary files behind. The name is short, since the path of a Unix socket is limited to 107 bytes.
        var temporary = Directory.CreateTempSubdirectory("child-");
        start.Environment["TMPDIR"] = temporary.FullName;

        // A killed process would leave the runtime's diagnostics files behind.
        start.Environment["DOTNET_EnableDiagnostics"] = "0";

        // A process that lives for seconds spends most of them compiling. Without these features it needs a third less time.
        if (Tier.IsQuick)
        {
            foreach (var name in (string[])["EnableWriteXorExecute", "TieredPGO", "TC_CallCounting"])
                start.Environment[$"DOTNET_{name}"] = "0";
        }

        foreach (var (name, value) in environment) start.Environment[name] = value;
        return new(
            Process.Start(start) ?? throw new InvalidOperationException($"{path} could not be started"), temporary,
            logLine ?? (_ => null));
    }

    /// <summary>Waits for a line that contains a text. Fails if the process ends without such a line.</summary>
    public async Task<string> LineAsync(string text)
    {
        await Until.True(() => Find(text) is not null || !IsRunning);
        if (Find(text) is { } found) return found;
        await _process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return Find(text) ?? throw new InvalidOperationException(
            $"ended with {_process.ExitCode} without '{text}':\n{string.Join('\n', Lines)}");
    }

    /// <summary>SIGTERM, as docker stop sends it; returns the exit code.</summary>
    public async Task<int> StopAsync()
    {
        if (IsRunning) _ = Kill(_process.Id, Sigterm);
        return await ExitCodeAsync();
    }

    public async Task<int> ExitCodeAsync()
    {
        await _process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (IsRunning) _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync(CancellationToken.None);
        _process.Dispose();
        _temporary.Delete(recursive: true);
        LogLine.Check(Lines.Select(_logLine).OfType<string>());
    }

    static string NameOf(string task)
    {
        try
        {
            return File.ReadAllText($"{task}/comm").Trim();
        }
        catch (IOException)
        {
            // The thread has ended.
            return "";
        }
    }

    string? Find(string text)
    {
        lock (_lines) return _lines.Find(line => line.Contains(text, StringComparison.Ordinal));
    }

    void Add(string? line)
    {
        if (line is null) return;
        lock (_lines) _lines.Add(line);
    }

    static string PathOf(string key) => Assembly.GetExecutingAssembly()
        .GetCustomAttributes<AssemblyMetadataAttribute>()
        .First(attribute => attribute.Key == key).Value!;

    [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
    static extern int Kill(int processId, int signal);
}
