using System.Text.Json;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using SensorForwarder.Tests.Support;
using Api = EdgeSimulator.Workload.WorkloadApi;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module as a process, whose buffer is encrypted with a key that the workload API wraps.</summary>
public sealed class WrappedKeyTests : IDisposable
{
    const string Sensors =
        """{"sink":"http","commitIntervalMs":50,"uploadIntervalSeconds":0.2,"sensors":{"attic":{"kind":"simulated","intervalSeconds":0.05}}}""";

    readonly string _directory = Directory.CreateTempSubdirectory("wrapped-").FullName;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string Data => Path.Combine(_directory, "data");

    string KeyPath => Path.Combine(Data, "telemetry.key");

    string SocketPath => Path.Combine(_directory, "workload.sock");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    ChildProcess Start(string endpoint = "http://127.0.0.1:9/", string generation = "1", params (string, string)[] more)
    {
        var settings = Path.Combine(_directory, "settings.json");
        File.WriteAllText(settings, Sensors);
        return ChildProcess.StartModule([
            ("Buffer__Directory", Data), ("Buffer__Encryption", "workload"), ("Web__Port", "0"), ("Settings__File", settings),
            ("Http__Endpoint", endpoint), ("IOTEDGE_WORKLOADURI", $"unix://{SocketPath}"), ("IOTEDGE_DEVICEID", "pi"),
            ("IOTEDGE_MODULEID", "telemetry"), ("IOTEDGE_IOTHUBHOSTNAME", "hub.azure-devices.net"),
            ("IOTEDGE_GATEWAYHOSTNAME", "localhost"), ("IOTEDGE_AUTHSCHEME", "sasToken"),
            ("IOTEDGE_MODULEGENERATIONID", generation), .. more]);
    }

    async Task<Api> StartWorkloadAsync(byte device = 1, string generation = "1")
    {
        var api = new Api(SocketPath, new ModuleIdentity
        {
            HubHost = "hub.azure-devices.net",
            GatewayHost = "localhost",
            DeviceId = "pi",
            ModuleId = "telemetry",
            GenerationId = generation,
            Key = [device],
        }, "", new FaultSwitches());
        await api.StartAsync(Token);
        return api;
    }

    // A module that has stored something, and was killed.
    async Task RunAsync()
    {
        await using var workload = await StartWorkloadAsync();
        await using var module = Start();
        await module.LineAsync("does not take batch");
    }

    byte[] Database() => File.ReadAllBytes(Path.Combine(Data, "telemetry.db"));

    static bool Holds(byte[] bytes, ReadOnlySpan<byte> text) => bytes.AsSpan().IndexOf(text) >= 0;

    [Fact]
    public async Task The_key_is_made_once_the_workload_api_is_there_and_the_file_tells_nothing_without_it()
    {
        await using var module = Start();
        Assert.Contains("no such socket", await module.LineAsync("Waiting for the volume"), StringComparison.Ordinal);
        Assert.False(File.Exists(KeyPath));
        await using (await StartWorkloadAsync())
        {
            await module.LineAsync("does not take batch");
            Assert.Equal(0, await module.StopAsync());
        }

        Assert.True(OperatingSystem.IsWindows() || File.GetUnixFileMode(KeyPath) == (UnixFileMode.UserRead | UnixFileMode.UserWrite));
        Assert.True(Holds(Database(), "key_check"u8));
        Assert.False(Holds(Database(), "attic"u8));
        Assert.False(Holds(Database(), "temperature"u8));
    }

    [Fact]
    public async Task The_next_start_reads_it_also_under_another_generation()
    {
        await RunAsync();
        var batches = new List<JsonElement>();
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            using var json = await JsonDocument.ParseAsync(context.Request.Body);
            lock (batches) batches.Add(json.RootElement.Clone());
        });
        await using var workload = await StartWorkloadAsync(generation: "2");
        await using var module = Start(receiver.Url.ToString(), generation: "2");
        await Until.True(() => { lock (batches) return batches.Count > 0; });
        var first = batches[0].GetProperty("batch")[0];
        Assert.Equal(1, first.GetProperty("id").GetInt64());
        Assert.Equal("attic", first.GetProperty("data").GetProperty("sensor").GetString());
    }

    [Fact]
    public async Task A_lost_key_is_named_the_file_is_left_alone_and_the_key_may_come_back()
    {
        await RunAsync();
        var (database, key) = (Database(), await File.ReadAllBytesAsync(KeyPath, Token));
        File.Delete(KeyPath);
        await using var workload = await StartWorkloadAsync();
        await using var keyless = Start();
        Assert.Contains("is gone, and telemetry.db was encrypted with it", await keyless.LineAsync("telemetry.key"), StringComparison.Ordinal);
        Assert.Equal(database, Database());
        Assert.False(File.Exists(KeyPath));

        await File.WriteAllBytesAsync(KeyPath, key, Token);
        await keyless.LineAsync("does not take batch");
    }

    [Fact]
    public async Task On_another_device_the_key_stays_wrapped_and_the_file_is_left_alone()
    {
        await RunAsync();
        var (database, key) = (Database(), await File.ReadAllBytesAsync(KeyPath, Token));
        await using var workload = await StartWorkloadAsync(device: 2);
        await using var module = Start();
        Assert.Contains("decryption failed", await module.LineAsync("telemetry.key"), StringComparison.Ordinal);
        Assert.True(module.IsRunning);
        Assert.Equal(0, await module.StopAsync());
        Assert.Equal(database, Database());
        Assert.Equal(key, await File.ReadAllBytesAsync(KeyPath, Token));
    }

    [Theory]
    [InlineData("yes", "")]
    [InlineData("workload", "/some/key")]
    public async Task A_malformed_choice_ends_the_start(string choice, string keyFile)
    {
        await using var module = Start(more: [("Buffer__Encryption", choice), ("Buffer__KeyFile", keyFile)]);
        Assert.Equal(78, await module.ExitCodeAsync());
        Assert.Matches("^<2>.*Buffer__Encryption", Assert.Single(module.Lines));
    }
}
