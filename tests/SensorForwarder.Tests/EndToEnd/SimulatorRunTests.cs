using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The main job: the module as a process against the simulator as a process.</summary>
public sealed class SimulatorRunTests : IDisposable
{
    readonly string _directory = Directory.CreateTempSubdirectory("run-").FullName;

    public static TheoryData<string> Runs => Tier.IsQuick
        ? new("--kill-every 4")
        : new("", "--http", "--kill-every 4", "--http --kill-every 4", "--hub-restarts 1 --hub-restarts 10");

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [MemberData(nameof(Runs))]
    public async Task Every_committed_reading_arrives_through_a_blackout(string options)
    {
        var report = Path.Combine(_directory, "report.json");
        await using var simulator = ChildProcess.StartSimulator(
            ["--duration", Tier.IsQuick ? "8" : "12", "--blackout", Tier.IsQuick ? "2:4" : "3:5", "--report", report, .. options.Split(' ', StringSplitOptions.RemoveEmptyEntries)]);
        var exitCode = await simulator.ExitCodeAsync();
        Assert.True(exitCode == 0, string.Join('\n', simulator.Lines));

        var result = JsonNode.Parse(await File.ReadAllTextAsync(report, Token))!;
        Assert.Equal(0, (int)result["lost"]!);
        Assert.Equal((int)result["duplicates"]!, (int)result["duplicatesExplained"]!);
        Assert.True((int)result["unique"]! > 0);
        Assert.True((int)result["maxBacklog"]! > 0);
        Assert.Equal("complete", (string)result["exitReason"]!);
        Assert.Equal(0, (int)result["unexpectedExits"]!);
        Assert.Equal(options.Split("--hub-restarts").Length - 1, (int)result["hubRestarts"]!);
        Assert.Equal(0, (int)result["lostByHub"]!);
        Assert.True((int)result["sentAgain"]! >= (int)result["duplicates"]!);
    }

    [Fact(Explicit = true)]
    public async Task Messages_that_edgeHub_dropped_or_that_a_restart_left_unconfirmed_are_sent_again()
    {
        var report = Path.Combine(_directory, "report.json");
        await using var simulator = ChildProcess.StartSimulator(
            ["--duration", "60", "--blackout", "10:20", "--hub-restarts", "15", "--hub-drops", "20", "--report", report]);
        var exitCode = await simulator.ExitCodeAsync();
        Assert.True(exitCode == 0, string.Join('\n', simulator.Lines));
        var result = JsonNode.Parse(await File.ReadAllTextAsync(report, Token))!;
        Assert.Equal(0, (int)result["lost"]!);
        Assert.Equal("complete", (string)result["exitReason"]!);
        Assert.Equal(1, (int)result["hubRestarts"]!);
        Assert.True((int)result["sentAgain"]! > 0);
        Assert.Equal((int)result["duplicates"]!, (int)result["duplicatesExplained"]!);
    }

    [Fact(Explicit = true)]
    public async Task A_patch_of_the_twin_changes_the_next_batches_and_is_acknowledged()
    {
        var settings = Path.Combine(_directory, "desired.json");
        await File.WriteAllTextAsync(
            settings, """{"batchSize":20,"uploadIntervalSeconds":1,"sensors":{"a":{"kind":"simulated","intervalSeconds":0.02}}}""", Token);
        var port = FreePort.Find();
        await using var simulator = ChildProcess.StartSimulator("--settings", settings, "--api", $"{port}");
        using var http = new HttpClient { BaseAddress = new($"http://127.0.0.1:{port}") };
        await simulator.LineAsync("module connected");
        await UntilBatchOfAsync(20, http);

        using var patch = new StringContent("""{"properties":{"desired":{"batchSize":5,"compression":"zip"}}}""", Encoding.UTF8, "application/json");
        using var answer = await http.PatchAsync("/twins/pi-sim/modules/SensorForwarder", patch, Token);
        answer.EnsureSuccessStatusCode();
        await UntilBatchOfAsync(5, http);
        JsonNode? reported = null;
        await Until.True(async () =>
        {
            var twin = await http.GetFromJsonAsync<JsonObject>("/twins/pi-sim/modules/SensorForwarder", Token);
            reported = twin!["properties"]!["reported"];
            return (int?)reported?["batchSize"]?["value"] == 5;
        });
        Assert.Equal(200, (int)reported!["batchSize"]!["ac"]!);
        Assert.Equal(400, (int)reported["compression"]!["ac"]!);
        Assert.Equal("none", (string)reported["compression"]!["value"]!);

        foreach (var (method, status) in (ValueTuple<string, int>[])[("ping", 200), ("getStatus", 200), ("readNow", 200), ("nonsense", 501)])
        {
            using var called = await http.PostAsJsonAsync(
                "/twins/pi-sim/modules/SensorForwarder/methods", new { methodName = method, payload = new { } }, Token);
            Assert.Equal(status, (int)(await called.Content.ReadFromJsonAsync<JsonObject>(Token))!["status"]!);
        }

        Assert.Equal(0, await simulator.StopAsync());
    }

    static async Task UntilBatchOfAsync(int size, HttpClient http)
    {
        var seen = 0L;
        await Until.True(async () =>
        {
            var answer = await http.GetFromJsonAsync<JsonObject>($"/messages?after={seen}", Token);
            var messages = answer!["messages"]!.AsArray();
            if (messages.Count > 0) seen = (long)messages[^1]!["number"]!;
            return messages.Any(message => message!["body"]!["batch"]!.AsArray().Count == size);
        });
    }
}
