using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;
using SensorForwarder.Intake;
using SensorForwarder.Operations.CommandLine;
using SensorForwarder.Operations.Web;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Forwarding;
using SensorForwarder.Tests.Support;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Intake;

/// <summary>Readings of other programs are handled like those of the module's own sensors.</summary>
public sealed class PushedReadingTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    static string Reading(int number, string sensor = "pushed", string? more = null) =>
        $$"""{"sensor":"{{sensor}}","values":{"number":{{number}},"text":"x"}{{more}}}""";

    [Fact]
    public async Task A_chart_shows_pushed_values_at_the_times_at_which_they_were_measured()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        await using var intake = await IntakeFixture.OpenAsync(new() { ReadingsPerSecond = 0 }, clock);
        using var history = new ReadingHistory(intake.Buffer);

        // All arrive at noon; they were measured in the hour before, one a minute.
        var body = string.Join('\n', Enumerable.Range(0, 60).Select(i =>
            Reading(i, "k\\u00fcche", $",\"time\":\"{IntakeFixture.Noon.AddMinutes(i - 60):yyyy-MM-ddTHH:mm:ssZ}\"")));
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(body));
        Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync("""{"number":1000}""", name: "k\u00fcche"));
        var answer = JsonNode.Parse(await history.WriteAsync(new("k\u00fcche", IntakeFixture.Noon.AddHours(-1), IntakeFixture.Noon, 6), Token))!;
        Assert.Equal(61, (int)answer["readings"]!);
        Assert.Equal(
            [(0, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59)],
            answer["points"]!.AsArray().Select(point => ((int)point!["values"]!["number"]!["min"]!, (int)point["values"]!["number"]!["max"]!)));
        Assert.Equal(["k\u00fcche"], intake.Store.Sources.Sensors);
    }

    [Fact]
    public async Task When_the_clock_is_set_times_of_arrival_are_corrected_and_times_set_by_the_sender_are_not()
    {
        var clock = new FakeTimeProvider(IntakeFixture.Noon);
        var kernel = new KernelTime(TimeSpan.FromMinutes(1), "boot", Synchronized: false);
        using var files = new BufferFixture(inMemory: true);
        await using var buffer = await files.OpenAsync(timeProvider: clock, with: options => options with { KernelTime = () => kernel });
        var store = new IntakeStore(buffer, new() { ReadingsPerSecond = 0 }, clock);
        foreach (var body in (string[])[Reading(1), Reading(2, more: ",\"time\":\"2026-11-24T15:00:00Z\"")])
            Assert.Equal(IntakeAnswer.Stored, await store.StoreAsync(store.Sources.Find("a"), Encoding.UTF8.GetBytes(body), null, "http", "b", Token));
        var stored = Stored(buffer);
        Assert.Equal("unsynchronized", (string?)stored[0]["timeQuality"]);
        Assert.Null(stored[1]["timeQuality"]);

        clock.Advance(TimeSpan.FromHours(3));
        kernel = kernel with { Synchronized = true };
        await buffer.EnqueueAsync(BufferFixture.Reading(1), Token);
        stored = Stored(buffer);
        Assert.Equal(["2026-11-24T15:00:00.000Z", "2026-11-24T15:00:00.000Z"], stored.Take(2).Select(reading => (string?)reading["time"]));
        Assert.Null(stored[0]["timeQuality"]);
        Assert.All(BufferFixture.ReadAll(buffer).Take(2), reading => Assert.Equal(IntakeFixture.Noon.AddHours(3), reading.RecordedAt));

        static List<JsonNode> Stored(TelemetryBuffer buffer) =>
            [.. BufferFixture.ReadAll(buffer).Select(reading => JsonNode.Parse(reading.Payload.Span)!)];
    }

    [Fact]
    public async Task Pushed_readings_are_exported()
    {
        await using var intake = await IntakeFixture.AtNoonAsync();
        await intake.SendAsync($"[{Reading(7)},{{\"event\":\"opened\"}}]");
        await intake.Buffer.SaveDocumentAsync("settings.accepted", """{"tags":{"site":"north"}}"""u8.ToArray(), Token);
        var boot = BootOptions.Read(new ConfigurationBuilder().AddInMemoryCollection([new("Buffer:Directory", intake.Directory)]).Build());
        var (lines, table) = (Path.Combine(intake.Directory, "out.ndjson"), Path.Combine(intake.Directory, "out.csv"));
        Assert.Equal(0, await ReadingExport.RunAsync(lines, [], boot, TimeProvider.System, Token));
        Assert.EndsWith(",\"id\":1,\"tags\":{\"site\":\"north\"},\"data\":" + intake.Stored()[0] + "}", (await File.ReadAllLinesAsync(lines, Token))[0], StringComparison.Ordinal);
        Assert.Equal("opened", (string?)JsonNode.Parse((await File.ReadAllLinesAsync(lines, Token))[1])!["data"]!["data"]!["event"]);
        Assert.Equal(0, await ReadingExport.RunAsync(table, [], boot, TimeProvider.System, Token));
        var rows = await File.ReadAllLinesAsync(table, Token);
        Assert.EndsWith(",1,2026-11-24T12:00:00.000Z,pushed,http,good,,number,7,,,\"{\"\"site\"\":\"\"north\"\"}\"", rows[1], StringComparison.Ordinal);
        Assert.EndsWith(",2,2026-11-24T12:00:00.000Z,things,http,good,,,,,,\"{\"\"site\"\":\"\"north\"\"}\"", rows[^1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Pushed_readings_are_thinned_by_sensor_and_reported_in_a_gap_entry()
    {
        await using var intake = await IntakeFixture.OpenAsync(limits: BufferFixture.AtOnce with { MaxBytes = 1 << 20 });
        var random = new Random(1);
        var noise = new byte[300];
        var sent = 0;
        while (intake.Buffer.GetStatus().Evicted.Count == 0)
        {
            Assert.True(sent < 100_000, "the buffer did not become full");
            var body = new StringBuilder();
            for (var i = 0; i < 100; i++)
            {
                random.NextBytes(noise);
                var more = $",\"noise\":\"{Convert.ToBase64String(noise)}\"";
                body.Append(i % 2 == 0 ? Reading(sent++, "a", more) : $$"""{"number":{{sent++}}{{more}}}""").Append('\n');
            }

            Assert.Equal(IntakeAnswer.Stored, await intake.SendAsync(body.ToString(), name: "other things"));
        }

        var evicted = Assert.Single(intake.Buffer.GetStatus().Evicted);
        Assert.Equal("thinned", evicted.Reason);
        Assert.Equal(["a", "other things"], evicted.BySensor.Keys.Order());

        // The first reading of each sensor is kept, and half of those in between.
        var rows = intake.Stored().Select(text => JsonNode.Parse(text)!).ToList();
        Assert.Equal(0, (int)rows[0]["values"]!["number"]!);
        Assert.Equal(1, (int)rows.First(row => row["data"] is not null)["data"]!["number"]!);
        await intake.Buffer.AcknowledgeAsync(1, 1, Token);
        await intake.Buffer.CommitAsync(Token);
        var gap = intake.Stored().Select(text => JsonNode.Parse(text)!).Single(row => (string?)row["kind"] == "gap");
        Assert.True((long)gap["gap"]!["sensors"]!["other things"]! > 0);
    }

    [Fact]
    public async Task Pushed_readings_are_forwarded_replayed_and_dead_lettered_like_any_other()
    {
        var sink = new FakeSink
        {
            Rule = batch => batch.Readings.Any(reading => reading.Id == 2) ? new(SendOutcome.Rejected, "no") : SendResult.Accepted,
        };
        await using var fixture = await ForwarderFixture.StartAsync(http: sink, hub: sink);
        fixture.Buffer.ApplyLimits(new() { CommitInterval = TimeSpan.Zero, RetainForwarded = TimeSpan.FromDays(10_000) });
        var store = new IntakeStore(fixture.Buffer, new() { ReadingsPerSecond = 0 }, TimeProvider.System);
        var body = $"[{Reading(1, "a")},{Reading(2, "a")},{{\"event\":3}},{Reading(4, "b")}]";
        Assert.Equal(IntakeAnswer.Stored, await store.StoreAsync(store.Sources.Find("test"), Encoding.UTF8.GetBytes(body), null, "http", "things", Token));
        await fixture.RunAsync();
        await Until.True(() => fixture.Buffer.GetStatus() is { Depth: 0, DeadLetters: 1 }, fixture.Clock, TimeSpan.FromSeconds(1));
        var letter = Assert.Single(fixture.Buffer.ListDeadLetters(0, 10));
        Assert.Equal(2, (int)JsonNode.Parse(letter.Payload.Span)!["values"]!["number"]!);
        await fixture.Buffer.CommitAsync(Token);
        Assert.Equal(1, await fixture.Forwarder.ReplayAsync(DateTimeOffset.MinValue, DateTimeOffset.MaxValue, ["things"], Token));
        Assert.Equal(1, await fixture.Forwarder.ReplayAsync(DateTimeOffset.MinValue, DateTimeOffset.MaxValue, ["a"], Token));
    }
}
