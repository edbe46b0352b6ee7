using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>A real process whose lines are kept. Killed at the end, if it still runs; then everything that the module has logged, on its own or
/// through the simulator, has to be log lines.</summary>
internal sealed class ChildProcess : IAsyncDisposable
{
    const int Sigterm = 15;

    // What another IoT Edge module or a developer's shell may have set must not reach the child.
    static readonly string[] Unwanted = ["EdgeHubConnectionString", "IotHubConnectionString", "IOTEDGE_WORKLOADURI"];

    // What the simulator writes before a line of its module.
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

    /// <summary>What is resident now.</summary>
    public long MemoryBytes
    {
        get
        {
            _process.Refresh();
            return _process.WorkingSet64;
        }
    }

    /// <summary>Its threads by name; the kernel keeps 15 characters of it.</summary>
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

    /// <summary>The module doing what an option says; what it writes is no log.</summary>
    public static ChildProcess StartModule(string[] arguments, params (string Name, string Value)[] environment) =>
        Start(PathOf("ModulePath"), arguments, environment);

    public static ChildProcess StartModule(params (string Name, string Value)[] environment) =>
        Start(PathOf("ModulePath"), [], environment, line => line);

    public static ChildProcess StartSimulator(params string[] arguments) => Start(
        PathOf("EdgeSimulatorPath"), arguments, [], line => line.StartsWith(OfModule, StringComparison.Ordinal) ? line[OfModule.Length..] : null);

    public static ChildProcess StartPostgresReceiver(params (string Name, string Value)[] environment) =>
        Start(PathOf("PostgresReceiverPath"), [], environment);

    /// <param name="path">The program.</param>
    /// <param name="arguments">Of its command line.</param>
    /// <param name="environment">Beside ours.</param>
    /// <param name="logLine">What of a line the module has logged; null: nothing.</param>
    public static ChildProcess Start(string path, string[] arguments, (string Name, string Value)[] environment, Func<string, string?>? logLine = null)
    {
        var start = new ProcessStartInfo(path, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var name in Unwanted) start.Environment.Remove(name);

        // A process that is killed leaves its own files behind. Short: the path of a socket in it has 107 bytes at most.
        var temporary = Directory.CreateTempSubdirectory("child-");
        start.Environment["TMPDIR"] = temporary.FullName;

        // A process that is killed leaves the files of the runtime's debugging behind.
        start.Environment["DOTNET_EnableDiagnostics"] = "0";

        // A process that lives for seconds compiles for most of them: a third less without what pays off later only.
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

    /// <summary>Waits for a line that contains a text. Fails when the process ends without it.</summary>
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
            // It has ended.
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
