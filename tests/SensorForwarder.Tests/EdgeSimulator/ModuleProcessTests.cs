using System.Runtime.Versioning;
using System.Threading.Channels;
using EdgeSimulator.Display;
using EdgeSimulator.Modules;

namespace SensorForwarder.Tests.Simulator;

/// <summary>Starting, restarting and stopping the module, with shell scripts in its place.</summary>
[SupportedOSPlatform("linux")]
public sealed class ModuleProcessTests : IDisposable
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("edge-sim-");
    readonly RunLog _log = new(TimeProvider.System);
    readonly Channel<string> _lines = Channel.CreateUnbounded<string>();

    public ModuleProcessTests()
    {
        _log.ModuleWrote += line => _lines.Writer.TryWrite(line);
    }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public async Task Module_gets_its_environment_and_its_output_is_passed_on()
    {
        using var module = Module("echo \"device $IOTEDGE_DEVICEID\"; echo complaint >&2; exec sleep 1000");
        var running = module.RunAsync(Token);

        Assert.Equal(
            ["complaint", "device pi9"],
            new[] { await _lines.Reader.ReadAsync(Token), await _lines.Reader.ReadAsync(Token) }.Order());

        await module.StopAsync(Patience, Token);
        Assert.False(await running);
    }

    [Fact]
    public async Task Stop_sends_SIGTERM_and_returns_the_exit_code()
    {
        using var module = Module("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done");
        var running = module.RunAsync(Token);
        await _lines.Reader.ReadAsync(Token);

        Assert.Equal(7, await module.StopAsync(Patience, Token));
        Assert.False(await running);
        Assert.Equal((0, 0), (module.Restarts, module.UnexpectedExits));
    }

    [Fact]
    public async Task Module_that_ignores_SIGTERM_is_killed()
    {
        using var module = Module("trap '' TERM; echo ready; exec sleep 1000");
        var running = module.RunAsync(Token);
        await _lines.Reader.ReadAsync(Token);

        Assert.Null(await module.StopAsync(TimeSpan.FromMilliseconds(50), Token));
        await running;
    }

    [Fact]
    public async Task Killed_module_is_restarted_and_the_reason_of_its_end_is_reported()
    {
        using var module = Module("echo ready; exec sleep 1000");
        var ends = new List<ModuleEnd>();
        module.Ended += ends.Add;
        var running = module.RunAsync(Token);
        await _lines.Reader.ReadAsync(Token);

        Assert.True(module.Kill());
        await _lines.Reader.ReadAsync(Token);

        await module.StopAsync(Patience, Token);
        await running;
        Assert.Equal((1, 1, 0), (module.Kills, module.Restarts, module.UnexpectedExits));
        Assert.Equal([ModuleEnd.Killed, ModuleEnd.Stopped], ends);
    }

    [Fact]
    public async Task Child_process_that_outlives_the_module_does_not_delay_the_stop()
    {
        using var module = Module("sleep 5 & echo ready; exec sleep 1000");
        var running = module.RunAsync(Token);
        await _lines.Reader.ReadAsync(Token);

        await module.StopAsync(Patience, Token);

        Assert.False(await running);
    }

    [Fact]
    public async Task Module_that_exits_five_times_without_a_connection_is_not_restarted_again()
    {
        using var module = Module("exit 3", restartDelay: TimeSpan.Zero);

        Assert.True(await module.RunAsync(Token));

        Assert.Equal((ModuleProcess.QuickExitsMax, 3), (module.UnexpectedExits, module.ExitCode));
    }

    ModuleProcess Module(string script, TimeSpan? restartDelay = null)
    {
        var path = Path.Combine(_directory.FullName, "module.sh");
        File.WriteAllText(path, $"#!/bin/sh\n{script}\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return new ModuleProcess(path, [new("IOTEDGE_DEVICEID", "pi9")], restartDelay ?? ModuleProcess.RestartDelay, TimeProvider.System, _log);
    }
}
