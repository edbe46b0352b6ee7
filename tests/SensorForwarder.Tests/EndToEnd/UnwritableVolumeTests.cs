using System.Runtime.Versioning;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>What the log says about a volume that the module can't write to: its owner, the fault, and the remedy.</summary>
[SupportedOSPlatform("linux")]
public sealed class UnwritableVolumeTests : IDisposable
{
    // The user id in the images.
    const int User = 1654;

    const UnixFileMode Read = UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead;
    const UnixFileMode Write = UnixFileMode.UserWrite | UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;
    const UnixFileMode ReadAndSearch =
        Read | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    readonly string _directory = Directory.CreateTempSubdirectory("unwritable-").FullName;

    string Volume => Path.Combine(_directory, "data");

    public void Dispose()
    {
        if (Directory.Exists(Volume)) File.SetUnixFileMode(Volume, ReadAndSearch | UnixFileMode.UserWrite);
        Directory.Delete(_directory, recursive: true);
    }

    [Theory]
    [InlineData("data")]
    [InlineData("data/telemetry.db", Explicit = true)]
    [InlineData("data/new/volume", Explicit = true)]
    public async Task A_volume_of_another_user_is_reported_with_its_owner_its_mode_and_the_user_of_the_process(string path)
    {
        Directory.CreateDirectory(Volume);
        var isFile = path.EndsWith(".db", StringComparison.Ordinal);
        var (refused, mode) = isFile ? (Path.Combine(_directory, path), "0444") : (Volume, "0555");
        if (isFile)
        {
            await File.WriteAllTextAsync(refused, "", TestContext.Current.CancellationToken);
            File.SetUnixFileMode(refused, Read);
        }

        File.SetUnixFileMode(Volume, isFile ? ReadAndSearch | Write : ReadAndSearch);
        var (owner, user) = Environment.IsPrivilegedProcess ? ("0:0", $"{User}:{User}") : await IdsAsync();
        await using var module = Start(isFile ? Volume : Path.Combine(_directory, path));
        Assert.Contains(
            $"{refused} has owner {owner} and mode {mode}, and this process runs as {user}; run 'chown -R {user}' on "
            + "that directory of the host",
            await module.LineAsync("Waiting for the volume"), StringComparison.Ordinal);
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact]
    public async Task A_file_in_place_of_the_buffer_directory_is_named_in_the_log()
    {
        await File.WriteAllTextAsync(Volume, "", TestContext.Current.CancellationToken);
        await using var module = Start(Volume);
        Assert.Contains(
            $"{Volume} is a file, not a directory; set Buffer__Directory to a directory",
            await module.LineAsync("Waiting for the volume"), StringComparison.Ordinal);
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact]
    public async Task A_volume_that_is_mounted_read_only_is_named_in_the_log()
    {
        using var probe = System.Diagnostics.Process.Start("unshare", ["--mount", "true"]);
        await probe.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.SkipWhen(probe.ExitCode != 0, "this process may not mount a file system, run as root outside of a container for that");
        Directory.CreateDirectory(Volume);
        await using var module = ChildProcess.Start(
            "unshare",
            ["--mount", "sh", "-c", $"mount -t tmpfs -o ro tmpfs '{Volume}' && exec \"$0\"", ChildProcess.ModulePath],
            [("Buffer__Directory", Volume), ("Web__Port", "0")], line => line);
        Assert.Contains(
            $"{Volume} is mounted read-only; mount it read-write",
            await module.LineAsync("Waiting for the volume"), StringComparison.Ordinal);
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact(Explicit = true)]
    public async Task A_file_size_limit_is_treated_as_a_full_volume()
    {
        var settings = Path.Combine(_directory, "settings.json");
        var sensors = Enumerable.Range(0, 10).Select(n => $"\"s{n}\":{{\"kind\":\"simulated\",\"intervalSeconds\":0.01}}");
        await File.WriteAllTextAsync(settings, $"{{\"commitIntervalMs\":0,\"sensors\":{{{string.Join(',', sensors)}}}}}", TestContext.Current.CancellationToken);

        // The limit is in blocks of 512 bytes. W^X is disabled, since the runtime's memory files exceed the limit.
        await using var module = ChildProcess.Start(
            "sh", ["-c", "ulimit -f 800 && exec \"$0\"", ChildProcess.ModulePath],
            [("Buffer__Directory", Volume), ("Web__Port", "0"), ("Settings__File", settings), ("DOTNET_EnableWriteXorExecute", "0")], line => line);
        Assert.Contains("no room", await module.LineAsync("Buffer storage is Full"), StringComparison.Ordinal);
        Assert.Equal(0, await module.StopAsync());
        Assert.InRange(new FileInfo(Path.Combine(Volume, "telemetry.db")).Length, 1, 400 << 10);
    }

    // Root may write everywhere, so the module runs as the user of the images.
    ChildProcess Start(string volume)
    {
        (string, string)[] environment = [("Buffer__Directory", volume), ("Web__Port", "0")];
        if (!Environment.IsPrivilegedProcess) return ChildProcess.StartModule(environment);
        File.SetUnixFileMode(_directory, ReadAndSearch | UnixFileMode.UserWrite);
        Copy(Path.GetDirectoryName(ChildProcess.ModulePath)!, Path.Combine(_directory, "module"));
        var program = Path.Combine(_directory, "module", Path.GetFileName(ChildProcess.ModulePath));
        return ChildProcess.Start(
            "setpriv", [$"--reuid={User}", $"--regid={User}", "--clear-groups", program], environment, line => line);
    }

    static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (var file in Directory.GetFiles(from)) File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        foreach (var directory in Directory.GetDirectories(from))
            Copy(directory, Path.Combine(to, Path.GetFileName(directory)));
    }

    static async Task<(string Owner, string User)> IdsAsync()
    {
        var status = await File.ReadAllLinesAsync("/proc/self/status", TestContext.Current.CancellationToken);
        var ids = string.Join(':', Id("Uid:"), Id("Gid:"));
        return (ids, ids);

        string Id(string name) => status.First(line => line.StartsWith(name, StringComparison.Ordinal)).Split('\t')[1];
    }
}
