using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>A buffer that has reached its bound says so, and when it is over.</summary>
public sealed class FullBufferTests : IDisposable
{
    const string RoomAgain = "The buffer has room again";

    readonly BufferFixture _fixture = new(inMemory: true);
    readonly LogLines _log = new();

    static CancellationToken Token => BufferFixture.Token;

    [Fact]
    public async Task Refused_readings_are_told_and_counted_though_nothing_commits()
    {
        long refused;
        await using (var buffer = await OpenAsync(WhenFull.RejectNew))
        {
            refused = await FillAsync(buffer, 20_000);
            Assert.True(refused > 0);
            var status = buffer.GetStatus();
            Assert.Equal("Refusing", status.Storage.ToString());
            Assert.Equal("the buffer has reached its 1 MB: new readings are refused", status.StorageReason);
            Assert.Equal(refused, Refused(buffer));
            refused += await FillAsync(buffer, 100);
            Assert.Equal(refused, Refused(buffer));

            // What only looks at the world, or asks for nothing that needs room, does not end it.
            await buffer.CommitAsync(Token);
            Assert.Equal("Refusing", buffer.GetStatus().Storage.ToString());
            var commits = buffer.GetStatus().Commits;
            refused += await FillAsync(buffer, 100);
            Assert.Equal((refused, commits), (Refused(buffer), buffer.GetStatus().Commits));
            Assert.Equal(1, Lines("<4>", "The buffer has reached its 1 MB: new readings are refused"));
            Assert.Equal(0, Lines(RoomAgain));
        }

        // A stop writes what was only counted.
        await using var again = await OpenAsync(WhenFull.RejectNew);
        Assert.Equal(refused, Refused(again));
        refused += await FillAsync(again, 100);
        Assert.Equal("Refusing", again.GetStatus().Storage.ToString());

        await again.AcknowledgeAsync(1, again.LastCommittedId, Token);
        await Until.True(() => again.GetStatus() is { Storage: StorageState.Ok, StorageReason: null });
        await _log.Waits(RoomAgain);
        Assert.Equal(1, Lines("<6>", RoomAgain));
        Assert.Equal(refused, Refused(again));
    }

    [Theory]
    [InlineData(nameof(WhenFull.Thin), 1, "old readings are thinned")]
    [InlineData(nameof(WhenFull.Thin), 2, "old readings are thinned")]
    [InlineData(nameof(WhenFull.DropOldest), 1, "the oldest readings are dropped")]
    [InlineData(nameof(WhenFull.DropOldest), 4, "the oldest readings are dropped")]
    public async Task A_buffer_that_stays_at_its_bound_writes_one_line_and_one_when_it_is_over(string whenFull, int megabytes, string what)
    {
        await using var buffer = await OpenAsync(Enum.Parse<WhenFull>(whenFull), megabytes);
        Assert.Equal(0, await FillAsync(buffer, 3_000));
        Assert.Null(buffer.GetStatus().StorageReason);

        // Now and then a little gets through, and more comes.
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal(0, await FillAsync(buffer, megabytes * 4_000));
            if (i > 3) await AcknowledgeAsync(buffer, 100);
        }

        // In 1 MB a dropped piece is a large part: on a slow machine an episode can end there and begin again. Each has one
        // line at its start and one at its end.
        var episodes = Lines("<4>", $"The buffer has reached its {megabytes} MB: {what}");
        Assert.InRange(episodes, 1, 3);
        Assert.Equal(episodes - 1, Lines(RoomAgain));
        var status = buffer.GetStatus();
        Assert.Equal((StorageState.Ok, $"the buffer has reached its {megabytes} MB: {what}"), (status.Storage, status.StorageReason));

        await AcknowledgeAsync(buffer, buffer.GetStatus().Depth - 100);
        await Until.True(() => Lines(RoomAgain) == episodes);
        Assert.Null(buffer.GetStatus().StorageReason);
        Assert.Equal(0, await FillAsync(buffer, megabytes * 10_000));
        Assert.Equal(Lines("<4>", what) - 1, Lines("<6>", RoomAgain));
        var ended = Lines(RoomAgain);

        // There is twice the room: it is over before anything is sent.
        buffer.ApplyLimits(Limits(Enum.Parse<WhenFull>(whenFull), 2 * megabytes));
        await Until.True(() => Lines(RoomAgain) == ended + 1);
    }

    public void Dispose() => _fixture.Dispose();

    static BufferLimits Limits(WhenFull whenFull, int megabytes = 1) =>
        BufferFixture.AtOnce with { MaxBytes = (long)megabytes << 20, WhenFull = whenFull };

    Task<TelemetryBuffer> OpenAsync(WhenFull whenFull, int megabytes = 1) =>
        _fixture.OpenAsync(Limits(whenFull, megabytes), logger: _log.For<TelemetryBuffer>());

    int Lines(params string[] parts) => _log.All.Count(line => parts.All(part => line.Contains(part, StringComparison.Ordinal)));

    static long Refused(TelemetryBuffer buffer) => buffer.GetStatus().Evicted.Where(total => total.Reason == "rejected").Sum(total => total.Count);

    static async Task AcknowledgeAsync(TelemetryBuffer buffer, long readings)
    {
        var rows = buffer.PeekBatch(0, (int)readings, int.MaxValue);
        await buffer.AcknowledgeAsync(rows[0].Id, rows[^1].Id, Token);
        await buffer.CommitAsync(Token);
    }

    /// <returns>How many were refused.</returns>
    static async Task<int> FillAsync(TelemetryBuffer buffer, int readings)
    {
        var refused = 0;
        foreach (var some in Enumerable.Range(0, readings).Chunk(100))
        {
            foreach (var task in some.Select(i => buffer.EnqueueAsync(BufferFixture.Reading(i), Token).AsTask()).ToList())
            {
                try
                {
                    await task;
                }
                catch (BufferRejectedException)
                {
                    refused++;
                }
            }
        }

        return refused;
    }
}
