using System.Security.Cryptography;
using System.Text.Json.Nodes;
using SensorForwarder.Buffer;
using SensorForwarder.Operations.Web;
using SensorForwarder.Tests.Buffer;

namespace SensorForwarder.Tests.Operations;

public sealed class ReadingHistoryTests : IDisposable
{
    readonly BufferFixture _files = new(inMemory: true);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _files.Dispose();

    static async Task<JsonNode> AskAsync(
        TelemetryBuffer buffer, string sensor, int fromSecond, int toSecond, int points, int maxRows = 1_000_000, int maxReadings = 50_000)
    {
        using var history = new ReadingHistory(buffer) { MaxRows = maxRows, MaxReadings = maxReadings };
        var query = new HistoryQuery(sensor, BufferFixture.Noon.AddSeconds(fromSecond), BufferFixture.Noon.AddSeconds(toSecond), points);
        return JsonNode.Parse(await history.WriteAsync(query, Token))!;
    }

    [Fact]
    public async Task Each_interval_has_the_minimum_the_maximum_and_the_last_value()
    {
        await using var buffer = await _files.OpenAsync();
        for (var i = 1; i <= 1000; i++) await buffer.EnqueueAsync(BufferFixture.Reading(i, i % 2 == 0 ? "attic" : "cellar"), Token);
        var answer = await AskAsync(buffer, "attic", 100, 300, 20);
        Assert.False((bool)answer["isPartlyRead"]!);
        Assert.Equal(101, (long)answer["readings"]!);
        var points = answer["points"]!.AsArray();
        // A reading at the very end belongs to the last interval.
        Assert.Equal(20, points.Count);
        Assert.Equal((100, 108, 108), Numbers(points[0]!));
        Assert.Equal((110, 118, 118), Numbers(points[1]!));

        // Forwarded readings are deleted sooner or later, unless they are retained.
        buffer.ApplyLimits(BufferFixture.AtOnce with { RetainForwarded = TimeSpan.FromDays(10_000) });
        await buffer.AcknowledgeAsync(251, 300, Token);
        await buffer.AcknowledgeAsync(1, 250, Token);
        Assert.Equal(101, (long)(await AskAsync(buffer, "attic", 100, 300, 20))["readings"]!);
        Assert.Equal(0, (long)(await AskAsync(buffer, "roof", 100, 300, 20))["readings"]!);
        Assert.Equal(0, (long)(await AskAsync(buffer, "attic", 5000, 6000, 20))["readings"]!);

        static (double Min, double Max, double Last) Numbers(JsonNode point)
        {
            var value = point["values"]!["number"]!;
            return ((double)value["min"]!, (double)value["max"]!, (double)value["last"]!);
        }
    }

    [Fact]
    public async Task A_query_can_start_at_the_oldest_reading_and_return_a_single_value()
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
        // Forwarded readings are included while they are in the buffer.
        Assert.Equal(BufferFixture.Noon.AddSeconds(1), (DateTimeOffset)answer["from"]!);
        Assert.Equal(100, (long)answer["readings"]!);
        Assert.Equal(1, (double)answer["points"]![0]!["values"]!["number"]!["min"]!);
        Assert.All((await AskAsync("other"))["points"]!.AsArray(), point => Assert.Empty(point!["values"]!.AsObject()));

        async Task<JsonNode> AskAsync(string value) =>
            JsonNode.Parse(await history.WriteAsync(new("attic", null, to, 10, value), Token))!;
    }

    [Fact]
    public async Task Each_interval_of_a_long_queue_is_read_in_part_and_the_whole_time_is_covered()
    {
        await using var buffer = await _files.OpenAsync();
        await StoreAsync(buffer, 8_000, _ => "attic");
        var answer = await AskAsync(buffer, "attic", 0, 8_000, 100, maxReadings: 5_000);
        Assert.True((bool)answer["isPartlyRead"]!);
        Assert.InRange((long)answer["readings"]!, 1_000, 5_000);
        Assert.InRange(answer["points"]!.AsArray().Count, 95, 100);
        Assert.False((bool)(await AskAsync(buffer, "attic", 0, 8_000, 100, maxReadings: 8_000))["isPartlyRead"]!);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Every_reading_of_a_slow_sensor_among_fast_ones_is_returned(bool isSealed)
    {
        // Every 80th reading, never at the beginning of an interval; the sensor's name is escaped in the payload.
        const string Slow = "slow \"one\"";
        await using var buffer = await _files.OpenAsync(with: options => isSealed ? options with { Key = NewKey() } : options);
        await StoreAsync(buffer, 8_000, i => i % 80 == 70 ? Slow : $"slow{i % 8}");
        var answer = await AskAsync(buffer, Slow, 0, 8_000, 200, maxReadings: 5_000);
        Assert.False((bool)answer["isPartlyRead"]!);
        Assert.Equal(100, (long)answer["readings"]!);
        Assert.All(answer["points"]!.AsArray(), point => Assert.Null(point!["unreadBefore"]));
    }

    [Fact]
    public async Task Unread_readings_are_marked_at_the_next_point()
    {
        // Of each twenty seconds the first ten are read; one of two sensors has a reading in them, the other has none.
        await using var buffer = await _files.OpenAsync();
        await StoreAsync(buffer, 4_000, i => (i % 20) switch { 5 => "early", 15 => "late", _ => "fast" });
        var early = await AskAsync(buffer, "early", 0, 4_000, 200, maxRows: 2_000);
        Assert.True((bool)early["isPartlyRead"]!);
        Assert.Equal(200, early["points"]!.AsArray().Count);
        Assert.All(early["points"]!.AsArray().Skip(1), point => Assert.True((bool)point!["unreadBefore"]!));

        var late = await AskAsync(buffer, "late", 0, 4_000, 200, maxRows: 2_000);
        Assert.True((bool)late["isPartlyRead"]!);
        Assert.Empty(late["points"]!.AsArray());

        // Ten points of one interval are read in order.
        var fast = await AskAsync(buffer, "fast", 0, 4_000, 1_000, maxRows: 2_000);
        Assert.InRange(fast["points"]!.AsArray().Count(point => point!["unreadBefore"] is null), 1, 800);
        using var history = new ReadingHistory(buffer) { MaxRows = 2_000 };
        await history.WriteAsync(new("early", BufferFixture.Noon, BufferFixture.Noon.AddSeconds(4_000), 200), Token);
        Assert.InRange(history.RowsOfLastQuery, 2_000, 2_300);
    }

    static async Task StoreAsync(TelemetryBuffer buffer, int count, Func<int, string> sensorOf)
    {
        foreach (var some in Enumerable.Range(1, count).Chunk(1_000))
            await Task.WhenAll(some.Select(i => buffer.EnqueueAsync(BufferFixture.Reading(i, sensorOf(i)), Token).AsTask()));
    }

    BufferKey NewKey()
    {
        var file = Path.Combine(_files.Directory, "key");
        File.WriteAllBytes(file, RandomNumberGenerator.GetBytes(32));
        return BufferKey.Read(file);
    }
}
