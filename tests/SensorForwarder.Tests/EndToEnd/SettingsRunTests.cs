using System.Net.Http.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>Settings change while readings flow. Module and simulator are processes, and the simulator's verdict at the end is
/// that every reading has arrived.</summary>
public sealed class SettingsRunTests : IDisposable
{
    const string Twin = "/twins/pi-sim/modules/SensorForwarder";
    const string Start = """{"batchSize":20,"uploadIntervalSeconds":0.5,"commitIntervalMs":100,"sensors":{"a":{"kind":"simulated","intervalSeconds":0.05}}}""";

    // One change per key, in an order in which each change is valid. A key that is missing here fails the test.
    static readonly (string Key, string Value)[] Changes =
    [
        ("batchSize", "7"), ("batchMaxBytes", "4096"), ("uploadIntervalSeconds", "0.2"), ("maxInFlightBatches", "2"), ("drainOrder", "\"liveFirst\""),
        ("backfillBatchesPerMinute", "6000"), ("dailyMessageLimit", "1000000"), ("compression", "\"gzip\""), ("commitIntervalMs", "20"),
        ("bufferMaxMegabytes", "64"), ("bufferKeepFreeMegabytes", "1"), ("bufferMaxAgeHours", "48"), ("retainForwardedHours", "24"), ("whenFull", "\"dropOldest\""), ("pollIntervalSeconds", "0.1"), ("logLevel", "\"Debug\""),
        ("tags", """{"site":"north"}"""),
        ("httpTimeoutSeconds", "45"), ("acceptHtml", "true"),
        ("statusIntervalSeconds", "10"), ("settingsTrialMinutes", "30"), ("messageFormat", "\"pnp\""),
        ("sensors", """{"a":{"kind":"simulated","intervalSeconds":0.1},"b":{"kind":"simulated"}}"""),
        ("httpEndpoint", "\"ENDPOINT\""), ("sink", "\"http\""), ("aggregateSeconds", "1"),
    ];

    readonly string _directory = Directory.CreateTempSubdirectory("settings-run-").FullName;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    async Task<(ChildProcess Simulator, HttpClient Http)> StartAsync(params string[] arguments)
    {
        var settings = Path.Combine(_directory, "desired.json");
        await File.WriteAllTextAsync(settings, Start, Token);
        var port = FreePort.Find();
        var simulator = ChildProcess.StartSimulator(["--settings", settings, "--api", $"{port}", .. arguments]);
        await simulator.LineAsync("module connected");
        return (simulator, new HttpClient { BaseAddress = new($"http://127.0.0.1:{port}") });
    }

    static async Task<JsonObject> PropertiesAsync(HttpClient http) =>
        (await http.GetFromJsonAsync<JsonObject>(Twin, Token))!["properties"]!.AsObject();

    static async Task PatchAsync(HttpClient http, string desired)
    {
        using var patch = new StringContent($$$"""{"properties":{"desired":{{{desired}}}}}""", System.Text.Encoding.UTF8, "application/json");
        using var answer = await http.PatchAsync(Twin, patch, Token);
        answer.EnsureSuccessStatusCode();
    }

    static async Task FaultAsync(HttpClient http, string fault)
    {
        using var body = new StringContent(fault, System.Text.Encoding.UTF8, "application/json");
        using var answer = await http.PostAsync("/faults", body, Token);
        answer.EnsureSuccessStatusCode();
    }

    static async Task<JsonObject> CallAsync(HttpClient http, string method, string payload = "{}")
    {
        using var body = new StringContent($$$"""{"methodName":"{{{method}}}","payload":{{{payload}}}}""", System.Text.Encoding.UTF8, "application/json");
        using var answer = await http.PostAsync($"{Twin}/methods", body, Token);
        return (await answer.Content.ReadFromJsonAsync<JsonObject>(Token))!;
    }

    static async Task<long> ReceivedAsync(HttpClient http) => (long)(await http.GetFromJsonAsync<JsonObject>("/report", Token))!["unique"]!;

    static async Task<JsonNode?> InForceAsync(HttpClient http, string key) =>
        (await CallAsync(http, "getSettings"))["payload"]?["settings"]?[key]?["value"];

    [Fact(Explicit = true)]
    public async Task Every_setting_can_be_changed_while_readings_flow_and_every_reading_arrives()
    {
        Assert.Equal(SettingsTable.All.Select(setting => setting.Key).Append("sensors").Order(), Changes.Select(change => change.Key).Order());
        var (simulator, http) = await StartAsync("--http");
        await using var running = simulator;
        using var client = http;

        // The desired properties contain the address of the simulator's receiver; the run begins with the hub.
        var endpoint = (string)(await PropertiesAsync(http))["desired"]!["httpEndpoint"]!;
        await PatchAsync(http, """{"sink":null,"httpEndpoint":null}""");
        await Until.True(async () => (string?)await InForceAsync(http, "sink") == "iothub");

        foreach (var (key, value) in Changes)
        {
            var wanted = value.Replace("ENDPOINT", endpoint, StringComparison.Ordinal);
            var received = await ReceivedAsync(http);
            await PatchAsync(http, $$"""{"{{key}}":{{wanted}}}""");
            await Until.True(async () => JsonNode.DeepEquals(await InForceAsync(http, key), JsonNode.Parse(wanted))
                || (key == "sensors" && (await InForceAsync(http, key))?["b"] is not null));

            // Readings that were taken after the change arrive.
            await Until.True(async () => await ReceivedAsync(http) > received + 5);
        }

        // Reports are paced, so the last acknowledgement arrives later than its change.
        JsonObject reported = [];
        await Until.True(async () =>
        {
            reported = (await PropertiesAsync(http))["reported"]!.AsObject();
            return Changes.All(change => (int?)reported[change.Key]?["ac"] == 200) && (int?)reported["status"]?["sensorStates"]?["Working"] >= 1;
        });
        Assert.Equal(0, await simulator.StopAsync());
    }

    [Fact(Explicit = true)]
    public async Task Settings_end_as_in_the_twin_when_versions_are_skipped_or_repeated()
    {
        var (simulator, http) = await StartAsync();
        await using var running = simulator;
        using var client = http;

        // While edgeHub is offline the changes accumulate and are delivered as one patch, which skips versions.
        await Until.True(async () => (int?)await InForceAsync(http, "batchSize") == 20);
        await FaultAsync(http, """{"upstreamOffline":true}""");
        for (var size = 3; size <= 6; size++) await PatchAsync(http, $$"""{"batchSize":{{size}},"maxInFlightBatches":{{size}}}""");
        Assert.Equal(20, (int)(await InForceAsync(http, "batchSize"))!);
        await FaultAsync(http, """{"upstreamOffline":false}""");
        await Until.True(async () => (int?)await InForceAsync(http, "batchSize") == 6 && (int?)await InForceAsync(http, "maxInFlightBatches") == 6);
        var version = (long)(await CallAsync(http, "getSettings"))["payload"]!["version"]!;

        // After a cut the whole twin is read again, with the known version, and the next patch has the version after it.
        await FaultAsync(http, """{"cut":true}""");
        await Until.True(async () => (long?)(await CallAsync(http, "getSettings"))["payload"]?["version"] == version);
        await PatchAsync(http, """{"batchSize":9}""");
        await Until.True(async () => (int?)await InForceAsync(http, "batchSize") == 9);
        Assert.Equal(version + 1, (long)(await CallAsync(http, "getSettings"))["payload"]!["version"]!);
        Assert.Equal(0, await simulator.StopAsync());
    }

    [Fact(Explicit = true)]
    public async Task A_restart_during_a_blackout_uses_the_last_good_settings()
    {
        var (simulator, http) = await StartAsync();
        await using var running = simulator;
        using var client = http;
        await PatchAsync(http, """{"batchSize":3,"uploadIntervalSeconds":3600,"sensors":{"a":null,"late":{"kind":"simulated","intervalSeconds":0.1}}}""");
        await Until.True(async () => (int?)(await PropertiesAsync(http))["reported"]?["batchSize"]?["value"] == 3);

        // Acknowledged settings are stored with the next reading.
        var stored = await LastCommittedAsync();
        await Until.True(async () => await LastCommittedAsync() > stored);

        await FaultAsync(http, """{"blackout":true}""");
        await FaultAsync(http, """{"kill":true}""");
        // The twin changes while the module is not connected.
        await PatchAsync(http, """{"uploadIntervalSeconds":0.3}""");
        await Until.True(() => simulator.Lines.Count(line => line.Contains("Sensor late (simulated)", StringComparison.Ordinal)) >= 2);
        Assert.DoesNotContain(simulator.Lines.SkipWhile(line => !line.Contains("kill", StringComparison.Ordinal)), line => line.Contains("Sensor host (host)", StringComparison.Ordinal));

        await FaultAsync(http, """{"blackout":false}""");
        await Until.True(async () => (double?)(await PropertiesAsync(http))["reported"]?["uploadIntervalSeconds"]?["value"] == 0.3);
        Assert.Equal(3, (int)(await InForceAsync(http, "batchSize"))!);
        Assert.Equal(0, await simulator.StopAsync());

        async Task<long> LastCommittedAsync() =>
            (long?)(await CallAsync(http, "getStatus"))["payload"]?["lastCommittedId"] ?? 0;
    }
}
