using System.Text.Json;
using EdgeSimulator.Faults;
using EdgeSimulator.Hub;
using SensorForwarder.Tests.Support;
using Api = EdgeSimulator.Workload.WorkloadApi;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module as a process whose buffer is encrypted with a key that the workload API wraps.</summary>
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

    ChildProcess Start(string endpoint = "http://127.0.0.1:9/", string generation = "1")
    {
        var settings = Path.Combine(_directory, "settings.json");
        File.WriteAllText(settings, Sensors);
        return ChildProcess.StartModule([
            ("Buffer__Directory", Data), ("Buffer__Encryption", "workload"), ("Web__Port", "0"), ("Settings__File", settings),
            ("Http__Endpoint", endpoint), ("IOTEDGE_WORKLOADURI", $"unix://{SocketPath}"), ("IOTEDGE_DEVICEID", "pi"),
            ("IOTEDGE_MODULEID", "telemetry"), ("IOTEDGE_IOTHUBHOSTNAME", "hub.azure-devices.net"),
            ("IOTEDGE_GATEWAYHOSTNAME", "localhost"), ("IOTEDGE_AUTHSCHEME", "sasToken"),
            ("IOTEDGE_MODULEGENERATIONID", generation)]);
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

    // Runs a module until it has stored readings, then kills it.
    async Task RunAsync()
    {
        await using var workload = await StartWorkloadAsync();
        await using var module = Start();
        await module.LineAsync("did not accept batch");
    }

    byte[] Database() => File.ReadAllBytes(Path.Combine(Data, "telemetry.db"));

    static bool Holds(byte[] bytes, ReadOnlySpan<byte> text) => bytes.AsSpan().IndexOf(text) >= 0;

    [Fact(Explicit = true)]
    public async Task The_key_is_created_once_the_workload_API_is_available_and_is_used_again_by_the_next_start()
    {
        await using (var module = Start())
        {
            var line = await module.LineAsync("Waiting for the volume");
            Assert.Contains("no such socket", line, StringComparison.Ordinal);
            Assert.False(File.Exists(KeyPath));
            await using (await StartWorkloadAsync())
            {
                await module.LineAsync("did not accept batch");
                Assert.Equal(0, await module.StopAsync());
            }
        }

        // The file reveals no readings without the key.
        Assert.True(
            OperatingSystem.IsWindows()
            || File.GetUnixFileMode(KeyPath) == (UnixFileMode.UserRead | UnixFileMode.UserWrite));
        Assert.True(Holds(Database(), "key_check"u8));
        Assert.False(Holds(Database(), "attic"u8));
        Assert.False(Holds(Database(), "temperature"u8));

        // The key can also be unwrapped under another generation id.
        var first = new TaskCompletionSource<JsonElement>();
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            using var json = await JsonDocument.ParseAsync(context.Request.Body);
            first.TrySetResult(json.RootElement.GetProperty("batch")[0].Clone());
        });
        await using var workload = await StartWorkloadAsync(generation: "2");
        await using var next = Start(receiver.Url.ToString(), generation: "2");
        var reading = await first.Task.WaitAsync(Until.Limit, TimeProvider.System, Token);
        Assert.Equal(1, reading.GetProperty("id").GetInt64());
        Assert.Equal("attic", reading.GetProperty("data").GetProperty("sensor").GetString());
    }

    [Fact(Explicit = true)]
    public async Task On_another_device_or_without_its_key_the_file_is_unchanged_and_readable_once_the_key_is_restored()
    {
        await RunAsync();
        var (database, key) = (Database(), await File.ReadAllBytesAsync(KeyPath, Token));
        await using (await StartWorkloadAsync(device: 2))
        await using (var elsewhere = Start())
        {
            var line = await elsewhere.LineAsync("telemetry.key");
            Assert.Contains("decryption failed", line, StringComparison.Ordinal);
            Assert.True(elsewhere.IsRunning);
            Assert.Equal(0, await elsewhere.StopAsync());
        }

        Assert.Equal(database, Database());
        Assert.Equal(key, await File.ReadAllBytesAsync(KeyPath, Token));

        File.Delete(KeyPath);
        await using var workload = await StartWorkloadAsync();
        await using var keyless = Start();
        Assert.Contains(
            "is missing, but telemetry.db was encrypted with it", await keyless.LineAsync("telemetry.key"),
            StringComparison.Ordinal);
        Assert.Equal(database, Database());
        Assert.False(File.Exists(KeyPath));

        await File.WriteAllBytesAsync(KeyPath, key, Token);
        await keyless.LineAsync("did not accept batch");
    }
}
