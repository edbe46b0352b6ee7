using System.Net.Http.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module detects on edgeHub's metrics page that edgeHub has no connection to the cloud, and keeps its readings.</summary>
public sealed class UpstreamRunTests : IDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("upstream-").FullName;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact(Explicit = true)]
    public async Task Readings_wait_in_the_module_while_edgeHub_is_offline_and_all_arrive_afterwards()
    {
        var settings = Path.Combine(_directory, "desired.json");
        var report = Path.Combine(_directory, "report.json");
        await File.WriteAllTextAsync(
            settings, """{"batchSize":20,"uploadIntervalSeconds":1,"commitIntervalMs":100,"sensors":{"a":{"kind":"simulated","intervalSeconds":0.1}}}""", Token);
        var port = FreePort.Find();
        await using var simulator = ChildProcess.StartSimulator("--settings", settings, "--api", $"{port}", "--report", report);
        using var http = new HttpClient { BaseAddress = new($"http://127.0.0.1:{port}") };
        await simulator.LineAsync("module connected");
        await Until.True(async () => (long)(await StatusAsync(http))["readingsAccepted"]! > 20);

        await FaultAsync(http, """{"upstreamOffline":true}""");
        await Until.True(async () => (await StatusAsync(http))["upstream"] is { } upstream && upstream["heldSince"] is not null && (long)upstream["messages"]! > 0);
        await Until.True(async () => (long)(await StatusAsync(http))["queueDepth"]! > 100);
        await FaultAsync(http, """{"upstreamOffline":false}""");
        await Until.True(async () => await StatusAsync(http) is var status && status["upstream"]!["heldSince"] is null && (long)status["queueDepth"]! < 30);

        Assert.Equal(0, await simulator.StopAsync());
        var result = JsonNode.Parse(await File.ReadAllTextAsync(report, Token))!;
        Assert.Equal(0, (int)result["lost"]!);
        Assert.Equal(0, (int)result["duplicates"]!);
    }

    [Fact(Explicit = true)]
    public async Task The_doctor_names_the_output_without_a_route_and_the_messages_that_edgeHub_lost()
    {
        var settings = Path.Combine(_directory, "desired.json");
        await File.WriteAllTextAsync(
            settings, """{"batchSize":20,"uploadIntervalSeconds":1,"commitIntervalMs":100,"sensors":{"a":{"kind":"simulated","intervalSeconds":0.1}}}""", Token);
        var port = FreePort.Find();
        await using var simulator = ChildProcess.StartSimulator("--settings", settings, "--api", $"{port}");
        using var http = new HttpClient { BaseAddress = new($"http://127.0.0.1:{port}") };
        await simulator.LineAsync("module connected");
        await Until.True(async () => await LossesAsync(http) == "");

        await FaultAsync(http, """{"noRoute":"live"}""");
        await Until.True(async () => (await LossesAsync(http)).StartsWith("all messages of live, for which there is no route", StringComparison.Ordinal));
        await FaultAsync(http, """{"noRoute":""}""");
        await Until.True(async () => await LossesAsync(http) == "");

        await FaultAsync(http, """{"dropAcknowledged":2}""");
        await Until.True(async () => (await LossesAsync(http)).Contains("TrackDeviceState=false", StringComparison.Ordinal));
        Assert.Equal(0, await simulator.StopAsync());

        static async Task<string> LossesAsync(HttpClient http) =>
            string.Join('\n', (await CallAsync(http, "doctor"))["edgeHub"]!.AsArray().Select(text => (string)text!));
    }

    static async Task FaultAsync(HttpClient http, string patch)
    {
        using var body = new StringContent(patch, System.Text.Encoding.UTF8, "application/json");
        using var answer = await http.PostAsync("/faults", body, Token);
        answer.EnsureSuccessStatusCode();
    }

    static Task<JsonObject> StatusAsync(HttpClient http) => CallAsync(http, "getStatus");

    static async Task<JsonObject> CallAsync(HttpClient http, string method)
    {
        while (true)
        {
            using var called = await http.PostAsJsonAsync(
                "/twins/pi-sim/modules/SensorForwarder/methods",
                // The module subscribes to methods after it has connected.
                new { methodName = method, payload = new { }, connectTimeoutInSeconds = 60, responseTimeoutInSeconds = 10 }, Token);
#if DEVICE_SDK
            // Microsoft's SDK does not answer some of the calls in quick succession (docs/decisions/0004-device-sdk.md).
            if (called.StatusCode == System.Net.HttpStatusCode.GatewayTimeout) continue;
#endif
            return (await called.Content.ReadFromJsonAsync<JsonObject>(Token))!["payload"]!.AsObject();
        }
    }
}
