using System.Text.Json.Nodes;
using SensorForwarder.Buffer;
using SensorForwarder.Operations;
using SensorForwarder.Tests.Buffer;

namespace SensorForwarder.Tests.Operations;

public sealed class ReadingHistoryTests : IDisposable
{
    readonly BufferFixture _files = new(inMemory: true);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _files.Dispose();

    static async Task<JsonNode> AskAsync(TelemetryBuffer buffer, string sensor, int fromSecond, int toSecond, int points)
    {
        using var history = new ReadingHistory(buffer);
        var query = new HistoryQuery(sensor, BufferFixture.Noon.AddSeconds(fromSecond), BufferFixture.Noon.AddSeconds(toSecond), points);
        return JsonNode.Parse(await history.WriteAsync(query, Token))!;
    }

    [Fact]
    public async Task A_piece_of_time_has_the_least_the_greatest_and_the_last_value()
    {
        await using var buffer = await _files.OpenAsync();
        for (var i = 1; i <= 1000; i++) await buffer.EnqueueAsync(BufferFixture.Reading(i, i % 2 == 0 ? "attic" : "cellar"), Token);
        var answer = await AskAsync(buffer, "attic", 100, 300, 20);
        Assert.False((bool)answer["isPartlyRead"]!);
        Assert.Equal(101, (long)answer["readings"]!);
        var points = answer["points"]!.AsArray();
        // That at the end itself belongs to the last piece.
        Assert.Equal(20, points.Count);
        Assert.Equal((100, 108, 108), Numbers(points[0]!));
        Assert.Equal((110, 118, 118), Numbers(points[1]!));

        // What was forwarded is gone; the rest is still there.
        await buffer.AcknowledgeAsync(201, 250, Token);
        Assert.Equal(76, (long)(await AskAsync(buffer, "attic", 100, 300, 20))["readings"]!);
        // Unless it is kept.
        buffer.ApplyLimits(BufferFixture.AtOnce with { RetainForwarded = TimeSpan.FromDays(10_000) });
        await buffer.AcknowledgeAsync(251, 300, Token);
        await buffer.AcknowledgeAsync(1, 200, Token);
        Assert.Equal(76, (long)(await AskAsync(buffer, "attic", 100, 300, 20))["readings"]!);
        Assert.Equal(0, (long)(await AskAsync(buffer, "roof", 100, 300, 20))["readings"]!);
        Assert.Equal(0, (long)(await AskAsync(buffer, "attic", 5000, 6000, 20))["readings"]!);

        static (double Min, double Max, double Last) Numbers(JsonNode point)
        {
            var value = point["values"]!["number"]!;
            return ((double)value["min"]!, (double)value["max"]!, (double)value["last"]!);
        }
    }

    [Fact]
    public async Task It_goes_back_to_the_oldest_reading_on_request_and_names_one_value_only()
    {
        await using var buffer = await _files.OpenAsync();
        using var history = new ReadingHistory(buffer);
        var to = BufferFixture.Noon.AddSeconds(200);
        var empty = await AskAsync("number");
        Assert.Equal(to.AddHours(-1), (DateTimeOffset)empty["from"]!);
        Assert.Empty(empty["points"]!.AsArray());

        for (var i = 1; i <= 100; i++) await buffer.EnqueueAsync(BufferFixture.Reading(i), Token);
        await buffer.AcknowledgeAsync(1, 40, Token);
        var answer = await AskAsync("number");
        // What was forwarded counts while it is there.
        Assert.Equal(BufferFixture.Noon.AddSeconds(1), (DateTimeOffset)answer["from"]!);
        Assert.Equal(100, (long)answer["readings"]!);
        Assert.Equal(1, (double)answer["points"]![0]!["values"]!["number"]!["min"]!);
        Assert.All((await AskAsync("other"))["points"]!.AsArray(), point => Assert.Empty(point!["values"]!.AsObject()));

        async Task<JsonNode> AskAsync(string value) =>
            JsonNode.Parse(await history.WriteAsync(new("attic", null, to, 10, value), Token))!;
    }

    [Fact]
    public async Task Of_a_long_queue_each_piece_is_read_in_part_and_all_of_the_time_is_covered()
    {
        await using var buffer = await _files.OpenAsync(BufferFixture.AtOnce with { CommitInterval = TimeSpan.FromMilliseconds(100) });
        var count = ReadingHistory.MaxRows + 30_000;
        var last = Task.CompletedTask;
        for (var i = 1; i <= count; i++) last = buffer.EnqueueAsync(BufferFixture.Reading(i), Token).AsTask();
        await last;
        var answer = await AskAsync(buffer, "attic", 0, count, 100);
        Assert.True((bool)answer["isPartlyRead"]!);
        Assert.InRange((long)answer["readings"]!, 10_000, ReadingHistory.MaxRows);
        Assert.InRange(answer["points"]!.AsArray().Count, 95, 100);
    }
}
