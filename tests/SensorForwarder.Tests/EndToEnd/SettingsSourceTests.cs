using System.Diagnostics;
using System.Net;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module as a process whose settings file blocks when it is opened, or whose volume is full.</summary>
public sealed class SettingsSourceTests : IDisposable
{
    static readonly string A = WithSensor("a");
    static readonly string B = WithSensor("b");

    readonly string _directory = Directory.CreateTempSubdirectory("source-").FullName;
    readonly int _port = FreePort.Find();
    readonly HttpClient _http;

    public SettingsSourceTests() => _http = new() { BaseAddress = new($"http://127.0.0.1:{_port}") };

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string Data => Path.Combine(_directory, "data");

    string SettingsPath => Path.Combine(_directory, "settings.json");

    public void Dispose()
    {
        _http.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    static string WithSensor(string name) =>
        """{"commitIntervalMs":50,"sensors":{"NAME":{"kind":"simulated","intervalSeconds":0.1}}}"""
            .Replace("NAME", name, StringComparison.Ordinal);

    ChildProcess Start() => ChildProcess.StartModule(
        ("Buffer__Directory", Data), ("Web__Port", $"{_port}"), ("Settings__File", SettingsPath),
        ("Http__Endpoint", "http://127.0.0.1:9/"));

    async Task RunOnceAsync(string settings)
    {
        await File.WriteAllTextAsync(SettingsPath, settings, Token);
        await using var module = Start();
        await module.LineAsync("Sensor a (simulated)");
        await module.LineAsync("on port");
        Assert.Equal(0, await module.StopAsync());
    }

    // File.Move follows a symbolic link, and would wait for a file system that does not answer.
    void PutInPlace(string path) => Assert.Equal(0, Rename(path, SettingsPath));

    async Task PutFifoInPlaceAsync()
    {
        using var mkfifo = Process.Start("mkfifo", [SettingsPath + ".new"]);
        await mkfifo.WaitForExitAsync(Token);
        Assert.Equal(0, mkfifo.ExitCode);
        PutInPlace(SettingsPath + ".new");
    }

    async Task PutFileInPlaceAsync(string content)
    {
        await File.WriteAllTextAsync(SettingsPath + ".new", content, Token);
        PutInPlace(SettingsPath + ".new");
    }

    async Task<(HttpStatusCode Code, JsonNode Body)> GetAsync(string path)
    {
        using var answer = await _http.GetAsync(path, Token);
        return (answer.StatusCode, JsonNode.Parse(await answer.Content.ReadAsStringAsync(Token))!);
    }

    async Task SensesAsync(string sensor) =>
        await Until.True(async () => (int?)(await GetAsync("/status")).Body["sensors"]?[sensor]?["readings"] > 0);

    async Task<string?> FaultOfSettingsAsync() =>
        (string?)(await GetAsync("/readyz")).Body["checks"]!["settings"]!["reason"];

    async Task<string?> StatusAsync() => (string?)(await GetAsync("/status")).Body["settingsFileError"];

    static int Complaints(ChildProcess module) =>
        module.Lines.Count(line => line.Contains("is ignored", StringComparison.Ordinal));

    [Fact(Explicit = true)]
    public async Task A_FIFO_in_place_of_the_settings_file_is_refused_and_the_last_good_settings_stay_in_force()
    {
        await RunOnceAsync(A);
        await PutFifoInPlaceAsync();
        await using var module = Start();
        Assert.Contains("not a regular file", await module.LineAsync("is ignored"), StringComparison.Ordinal);
        await module.LineAsync("on port");
        await SensesAsync("a");
        Assert.Contains("it is not a regular file", await FaultOfSettingsAsync(), StringComparison.Ordinal);
        Assert.Contains("it is not a regular file", await StatusAsync(), StringComparison.Ordinal);

        await PutFileInPlaceAsync(B);
        await SensesAsync("b");
        await Until.True(async () => await FaultOfSettingsAsync() is null && await StatusAsync() is null);

        await PutFifoInPlaceAsync();
        await Until.True(() => Complaints(module) == 2);
        await PutFileInPlaceAsync(A);
        await Until.True(async () => await FaultOfSettingsAsync() is null);
        await SensesAsync("a");
        await PutFifoInPlaceAsync();
        await Until.True(async () => await FaultOfSettingsAsync() is not null);
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact(Explicit = true)]
    public async Task A_settings_file_on_a_hanging_file_system_delays_neither_start_nor_stop()
    {
        await RunOnceAsync(A);
        var mount = Directory.CreateDirectory(Path.Combine(_directory, "mount")).FullName;
        using (var dead = DeadFileSystem.TryMount(mount, out var refusal))
        {
            Assert.SkipWhen(dead is null, $"FUSE can't be mounted here, run as root for that: {refusal}");
            File.Delete(SettingsPath);
            File.CreateSymbolicLink(SettingsPath, Path.Combine(mount, "settings.json"));
            await using var module = Start();
            await module.LineAsync("on port");
            await SensesAsync("a");
            Assert.Contains("no answer", await module.LineAsync("is ignored"), StringComparison.Ordinal);
            Assert.Contains("no answer", await FaultOfSettingsAsync(), StringComparison.Ordinal);

            // The module stays live, since a restart would not help.
            Assert.Equal(HttpStatusCode.OK, (await GetAsync("/healthz")).Code);
            var (code, ready) = await GetAsync("/readyz");
            Assert.Equal((HttpStatusCode.OK, "degraded"), (code, (string?)ready["status"]));
            Assert.Equal(0, await module.StopAsync());
        }
    }

    [Fact(Explicit = true)]
    public async Task A_hanging_file_system_blocks_one_thread_and_settings_are_read_again_when_it_recovers()
    {
        await File.WriteAllTextAsync(SettingsPath, A, Token);
        await using var module = Start();
        await module.LineAsync("on port");
        await SensesAsync("a");
        var mount = Directory.CreateDirectory(Path.Combine(_directory, "mount")).FullName;
        using (var dead = DeadFileSystem.TryMount(mount, out var refusal))
        {
            Assert.SkipWhen(dead is null, $"FUSE can't be mounted here, run as root for that: {refusal}");
            File.CreateSymbolicLink(SettingsPath + ".new", Path.Combine(mount, "settings.json"));
            PutInPlace(SettingsPath + ".new");
            Assert.Contains("no answer", await module.LineAsync("is ignored"), StringComparison.Ordinal);
            for (var look = 0; look < 20; look++)
            {
                Assert.Single(module.ThreadNames, "settings file");
                await SensesAsync("a");
            }

            await PutFileInPlaceAsync(B);
            Assert.Equal(1, Complaints(module));
        }

        await SensesAsync("b");
        Assert.Equal(0, await module.StopAsync());
    }

    [Theory]
    [InlineData(false, Explicit = true)]
    [InlineData(true, Explicit = true)]
    public async Task While_the_volume_is_full_the_module_starts_and_applies_changes_of_the_settings_file(bool isFullAtStart)
    {
        Directory.CreateDirectory(Data);
        using var volume = TmpfsVolume.TryMount(Data, megabytes: 4, out var refusal);
        Assert.SkipWhen(volume is null, $"no file system can be mounted here, run as root for that: {refusal}");
        await RunOnceAsync(A);
        var ballast = Path.Combine(Data, "ballast");
        if (isFullAtStart) FillUp();
        await PutFileInPlaceAsync(B);
        await using (var module = Start())
        {
            await module.LineAsync("on port");
            await SensesAsync("b");
            Assert.Equal(HttpStatusCode.OK, (await GetAsync("/healthz")).Code);
            if (!isFullAtStart)
            {
                await Until.True(async () => (long?)(await GetAsync("/status")).Body["lastCommittedId"] > 3);
                FillUp();
            }

            await module.LineAsync("Buffer storage is Full");
            await PutFileInPlaceAsync(WithSensor("c"));
            await SensesAsync("c");
            await PutFileInPlaceAsync(WithSensor("d"));
            await SensesAsync("d");
            File.Delete(ballast);
            await module.LineAsync("Buffer storage is writable again");
            var stored = (long)(await GetAsync("/status")).Body["lastCommittedId"]!;
            await Until.True(async () => (long?)(await GetAsync("/status")).Body["lastCommittedId"] > stored);
            Assert.Equal(0, await module.StopAsync());
        }

        // The settings that were applied while the volume was full were stored afterwards.
        File.Delete(SettingsPath);
        await using var again = Start();
        await again.LineAsync("Sensor d (simulated)");
        Assert.Equal(0, await again.StopAsync());

        void FillUp()
        {
            using var file = File.Create(ballast, bufferSize: 1);
            try
            {
                while (true) file.Write(new byte[4096]);
            }
            catch (IOException)
            {
                // The volume is full.
            }
        }
    }

    [DllImport("libc", EntryPoint = "rename")]
    static extern int Rename(
        [MarshalAs(UnmanagedType.LPUTF8Str)] string from, [MarshalAs(UnmanagedType.LPUTF8Str)] string to);
}
