using System.Text.Json.Nodes;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Operations.Web;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Operations;

/// <summary>The history of a device without a clock battery, after boots without a network.</summary>
public sealed class ReadingHistoryClockTests : IDisposable
{
    readonly BufferFixture _files = new(inMemory: true);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _files.Dispose();

    /// <param name="Synchronized">Whether a time service has set the clock.</param>
    /// <param name="From">Seconds after noon, by the clock of this boot.</param>
    sealed record Boot(bool Synchronized, int From, int Count, string Sensor = "attic");

    [Theory]
    [InlineData(-3600)]
    [InlineData(-50_000_000)]
    public async Task Readings_taken_after_a_boot_that_set_the_clock_back_are_found(int back)
    {
        var start = 7200 + back;
        await using var buffer = await StoreAsync([new(true, 0, 7200), new(false, start, 600, "cellar")]);
        Assert.Equal(600, await CountAsync(buffer, "cellar", start + 600 - 3600, start + 600));
        Assert.Equal(101, await CountAsync(buffer, "cellar", start + 100, start + 200));
        Assert.Equal(0, await CountAsync(buffer, "cellar", start + 700, start + 5000));
        Assert.Equal(101, await CountAsync(buffer, "attic", 100, 200));

        // Everything, including readings with a later time.
        foreach (var (sensor, count) in (IEnumerable<(string, int)>)[("attic", 7200), ("cellar", 600)])
        {
            using var history = new ReadingHistory(buffer);
            var all = await AskAsync(history, new(sensor, null, Time(start + 600), 50) { WithLater = true });
            Assert.Equal(count, (int)all["readings"]!);
            Assert.Equal(Time(Math.Min(0, start)), (DateTimeOffset)all["from"]!);
            Assert.Equal(Time(7199), (DateTimeOffset)all["to"]!);
            var times = all["points"]!.AsArray().Select(point => (DateTimeOffset)point!["time"]!).ToList();
            Assert.Equal(times.Order(), times);
        }
    }

    [Fact]
    public async Task The_last_value_of_an_interval_is_the_one_with_the_latest_time()
    {
        await using var buffer = await StoreAsync([new(true, 0, 100), new(false, 40, 20)]);
        using var history = new ReadingHistory(buffer);
        var point = Assert.Single((await AskAsync(history, new("attic", Time(0), Time(1000), 1)))["points"]!.AsArray())!;
        Assert.Equal(Time(99), (DateTimeOffset)point["time"]!);
        Assert.Equal(99, (double)point["values"]!["number"]!["last"]!);
    }

    [Fact]
    public async Task Synchronized_boots_form_one_stretch_and_only_the_newest_of_many_others_are_kept_apart()
    {
        var boots = Enumerable.Range(0, 4 * ReadingHistory.MaxStretches).Select(i => new Boot(false, -1000 * i, 3)).ToList();
        await using var buffer = await StoreAsync([new(false, 0, 10), .. Enumerable.Repeat(new Boot(true, 100, 5), 20), .. boots]);
        var newest = boots[^1].From;
        Assert.Equal(3, await CountAsync(buffer, "attic", newest - 500, newest + 500));
        var old = boots[^(ReadingHistory.MaxStretches / 2)].From;
        Assert.Equal(3, await CountAsync(buffer, "attic", old - 500, old + 500));

        using var history = new ReadingHistory(buffer);
        await AskAsync(history, new("attic", Time(-1_000_000), Time(1000), 100));
        Assert.InRange(history.RowsOfLastQuery, 1, ReadingHistory.MaxStretches * 60);
    }

    async Task<TelemetryBuffer> StoreAsync(IEnumerable<Boot> boots)
    {
        var kernel = default(KernelTime);
        var time = new FakeTimeProvider(BufferFixture.Noon.AddYears(10));
        var buffer = await _files.OpenAsync(timeProvider: time, with: options => options with { KernelTime = () => kernel });
        var number = 0;
        var last = 0L;
        foreach (var boot in boots)
        {
            // The segment records the clock at boot, which the time provider gives as its difference from the uptime.
            kernel = new(time.GetUtcNow() - Time(boot.From), $"boot {++number}", boot.Synchronized);
            var stored = Enumerable.Range(boot.From, boot.Count).Select(i => buffer.EnqueueAsync(BufferFixture.Reading(i, boot.Sensor), Token).AsTask()).ToList();
            last = await stored[^1];
        }

        Assert.Equal(last, buffer.LastCommittedId);
        return buffer;
    }

    static DateTimeOffset Time(int second) => BufferFixture.Noon.AddSeconds(second);

    static async Task<long> CountAsync(TelemetryBuffer buffer, string sensor, int from, int to)
    {
        using var history = new ReadingHistory(buffer);
        return (long)(await AskAsync(history, new(sensor, Time(from), Time(to), 100)))["readings"]!;
    }

    static async Task<JsonNode> AskAsync(ReadingHistory history, HistoryQuery query) =>
        JsonNode.Parse(await history.WriteAsync(query, Token))!;
}
