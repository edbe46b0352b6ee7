using System.Diagnostics;
using System.Net.Http.Json;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.BrowserTests;

/// <summary>Runs the simulator and a module connected to it, both as processes.</summary>
public sealed class World : IAsyncDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("browser-").FullName;
    readonly int _api = FreePort.Find();
    readonly HttpClient _http;
    Process? _simulator;
    Process? _module;
    Dictionary<string, string> _environment = [];

    // The module's log: until it listens, and after that.
    readonly List<string> _log = [];
    Task<string> _logEnd = Task.FromResult("");

    World() => _http = new() { BaseAddress = new($"http://127.0.0.1:{_api}") };

    public int Port { get; } = FreePort.Find();

    public Uri Url => new($"http://127.0.0.1:{Port}/");

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public static async Task<World> StartAsync(JsonObject settings, params (string Name, string Value)[] environment)
    {
        Browser.Require();
        var world = new World();
        try
        {
            var path = Path.Combine(world._directory, "settings.json");
            await File.WriteAllTextAsync(path, settings.ToJsonString(), Token);
            world._simulator = world.Start(
                Browser.Metadata("EdgeSimulatorPath"),
                ["--no-module", "--settings", path, "--api", $"{world._api}"], []);
            world._environment = await ReadExportsAsync(world._simulator);
            world._environment["Buffer__Directory"] = Path.Combine(world._directory, "data");
            world._environment["Web__Port"] = $"{world.Port}";
            foreach (var (name, value) in environment) world._environment[name] = value;
            await world.StartModuleAsync();
            return world;
        }
        catch
        {
            await world.DisposeAsync();
            throw;
        }
    }

    public async Task StartModuleAsync()
    {
        _module = Start(Browser.Metadata("ModulePath"), [], _environment);
        while (await _module.StandardOutput.ReadLineAsync(Token) is { } line)
        {
            _log.Add(line);
            if (!line.Contains("on port", StringComparison.Ordinal)) continue;
            _logEnd = _module.StandardOutput.ReadToEndAsync(CancellationToken.None);
            return;
        }

        throw new InvalidOperationException($"the module exited: {string.Join('\n', _log)}");
    }

    public async Task StopModuleAsync()
    {
        _module!.Kill();
        await _module.WaitForExitAsync(Token);
        await CheckLogAsync();
    }

    /// <summary>Suspends the module with its connections open, as if its network cable was unplugged, or resumes
    /// it.</summary>
    public async Task HoldModuleAsync(bool isHeld)
    {
        using var kill = Process.Start("kill", [isHeld ? "-STOP" : "-CONT", $"{_module!.Id}"]);
        await kill.WaitForExitAsync(Token);
        Assert.Equal(0, kill.ExitCode);
    }

    /// <summary>Turns one of the simulator's faults on or off.</summary>
    public async Task FaultAsync(string name, bool isOn)
    {
        using var answer = await _http.PostAsJsonAsync("/faults", new Dictionary<string, bool> { [name] = isOn }, Token);
        answer.EnsureSuccessStatusCode();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var process in (Process?[])[_module, _simulator])
        {
            if (process is null) continue;
            if (!process.HasExited) process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync(CancellationToken.None);
            process.Dispose();
        }

        _http.Dispose();
        Directory.Delete(_directory, recursive: true);
        await CheckLogAsync();
    }

    /// <summary>Checks the format of the module's log.</summary>
    async Task CheckLogAsync()
    {
        LogLine.Check([.. _log, .. (await _logEnd).Split('\n', StringSplitOptions.RemoveEmptyEntries)]);
        _log.Clear();
        _logEnd = Task.FromResult("");
    }

    static async Task<Dictionary<string, string>> ReadExportsAsync(Process simulator)
    {
        const string Export = "export ";
        var environment = new Dictionary<string, string>();
        while (!environment.ContainsKey("Web__Port") && await simulator.StandardOutput.ReadLineAsync(Token) is { } line)
        {
            line = line.Trim();
            if (!line.StartsWith(Export, StringComparison.Ordinal)) continue;
            var equals = line.IndexOf('=', StringComparison.Ordinal);
            environment[line[Export.Length..equals]] = line[(equals + 1)..].Trim('\'', '"');
        }

        _ = simulator.StandardOutput.ReadToEndAsync(CancellationToken.None);
        return environment.Count > 0 ? environment : throw new InvalidOperationException("the simulator printed no environment");
    }

    Process Start(string path, string[] arguments, Dictionary<string, string> environment)
    {
        var start = new ProcessStartInfo(path, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };

        // A killed process leaves its temporary files and the runtime's diagnostic files behind.
        start.Environment["TMPDIR"] = _directory;
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        foreach (var (name, value) in environment) start.Environment[name] = value;
        var process = Process.Start(start) ?? throw new InvalidOperationException($"cannot start {path}");
        process.BeginErrorReadLine();
        return process;
    }
}
