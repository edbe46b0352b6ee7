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
        Assert.InRange(points.Count, 20, 21);
        Assert.Equal((100, 108, 108), Numbers(points[0]!));
        Assert.Equal((110, 118, 118), Numbers(points[1]!));

        // What was forwarded is gone; the rest is still there.
        await buffer.AcknowledgeAsync(1, 200, Token);
        Assert.Equal(50, (long)(await AskAsync(buffer, "attic", 100, 300, 20))["readings"]!);
        Assert.Equal(0, (long)(await AskAsync(buffer, "roof", 100, 300, 20))["readings"]!);
        Assert.Equal(0, (long)(await AskAsync(buffer, "attic", 5000, 6000, 20))["readings"]!);

        static (double Min, double Max, double Last) Numbers(JsonNode point)
        {
            var value = point["values"]!["number"]!;
            return ((double)value["min"]!, (double)value["max"]!, (double)value["last"]!);
        }
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
        Assert.InRange(answer["points"]!.AsArray().Count, 95, 101);
    }
}
