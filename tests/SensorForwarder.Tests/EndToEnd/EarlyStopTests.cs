using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>edgeAgent and Docker may stop a module at any time, even while it starts.</summary>
public sealed class EarlyStopTests : IDisposable
{
    const int LatestMilliseconds = 300;
    const int EndedByTheSignal = 143;

    static readonly int Starts = Tier.Size("TEST_EARLY_STOPS", quick: 4, full: 30, deep: 100);

    readonly string _directory = Directory.CreateTempSubdirectory("stop-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact(Explicit = true)]
    public async Task A_stop_at_any_moment_of_the_start_is_clean()
    {
        var random = new Random(1);
        for (var i = 0; i < Starts; i++)
        {
            await using var module = ChildProcess.StartModule(
                ("Buffer__Directory", Path.Combine(_directory, $"{i}")), ("Web__Port", "0"), ("Http__Endpoint", "http://127.0.0.1:9/"));

            // Every second run waits until the program has started; in the others the signal may end the runtime before that.
            if (i % 2 == 0) await module.LineAsync("starts as");
            await Task.Delay(
                TimeSpan.FromMilliseconds(random.Next(LatestMilliseconds)), TimeProvider.System, TestContext.Current.CancellationToken);
            var code = await module.StopAsync();
            Assert.True(
                code == 0 || (code == EndedByTheSignal && module.Lines.Count == 0), $"start {i} ended with {code}:\n{string.Join('\n', module.Lines)}");
            // On a busy machine a stop may exceed its time limit; then the module logs event 9007 and ends anyway.
            Assert.False(
                module.Lines.Any(line => line.StartsWith("<3>", StringComparison.Ordinal) && !line.Contains("[9007]", StringComparison.Ordinal)),
                string.Join('\n', module.Lines));
        }
    }

    [Theory]
    [InlineData(false, "on port")]
    [InlineData(true, "Waiting for the volume")]
    public async Task A_stop_is_clean_when_no_new_thread_can_be_created(bool isVolumeMissing, string line)
    {
        var volume = Path.Combine(_directory, "data");
        if (isVolumeMissing)
            await File.WriteAllTextAsync(volume, "a file in the way", TestContext.Current.CancellationToken);
        await using var module = ChildProcess.StartModule(
            ("Buffer__Directory", volume), ("Web__Port", $"{FreePort.Find()}"),
            ("Http__Endpoint", "http://127.0.0.1:9/"));
        await module.LineAsync(line);
        using var limit = ThreadLimit.TrySet(module.Id, out var refusal);
        if (limit is null) Assert.Skip(refusal);
        var code = await module.StopAsync();
        Assert.True(code == 0, $"ended with {code}:\n{string.Join('\n', module.Lines)}");
        if (!isVolumeMissing) await module.LineAsync("Stopped; ");
    }
}

/// <summary>Prevents a process from creating further threads, as a container's PidsLimit does once it is reached.</summary>
file sealed class ThreadLimit : IDisposable
{
    readonly string? _group;
    readonly int _process;

    ThreadLimit(string? group, int process) => (_group, _process) = (group, process);

    /// <returns>Null if this user is not allowed to set the limit.</returns>
    public static ThreadLimit? TrySet(int process, out string refusal)
    {
        refusal = "";
        try
        {
            if (!Environment.IsPrivilegedProcess)
            {
                // The kernel limits the number of threads of a user, but not of root.
                using var prlimit = Process.Start("prlimit", ["--pid", $"{process}", "--nproc=1:1"]);
                prlimit.WaitForExit();
                return prlimit.ExitCode == 0
                    ? new(null, process)
                    : throw new IOException($"prlimit ended with {prlimit.ExitCode}");
            }

            var root = Directory.Exists("/sys/fs/cgroup/pids") ? "/sys/fs/cgroup/pids" : "/sys/fs/cgroup";
            var group = Directory.CreateDirectory($"{root}/sensorforwarder-{process}").FullName;
            var limit = new ThreadLimit(group, process);
            try
            {
                File.WriteAllText($"{group}/pids.max", "1");
                File.WriteAllText($"{group}/cgroup.procs", $"{process}");
                return limit;
            }
            catch
            {
                limit.Dispose();
                throw;
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or Win32Exception)
        {
            refusal = $"threads can't be limited here: {exception.Message}";
            return null;
        }
    }

    // A cgroup without processes is removed by rmdir; Directory.Delete would try to delete its files.
    public void Dispose()
    {
        if (_group is null) return;
        if (Directory.Exists($"/proc/{_process}"))
            File.WriteAllText($"{Path.GetDirectoryName(_group)}/cgroup.procs", $"{_process}");
        _ = RemoveDirectory(_group);
    }

    [DllImport("libc", EntryPoint = "rmdir")]
    static extern int RemoveDirectory([MarshalAs(UnmanagedType.LPUTF8Str)] string path);
}
