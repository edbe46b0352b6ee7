using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>A full buffer reports it, and reports when it has room again.</summary>
public sealed class FullBufferTests : IDisposable
{
    const string RoomAgain = "The buffer has room again";

    readonly BufferFixture _fixture = new(inMemory: true);
    readonly LogLines _log = new();

    static CancellationToken Token => BufferFixture.Token;

    [Theory]
    [InlineData(100)]
    [InlineData(104)]
    [InlineData(108)]
    [InlineData(112)]
    [InlineData(116)]
    [InlineData(120)]
    public async Task A_buffer_that_refuses_a_burst_does_not_report_that_it_has_room(int readings)
    {
        await using var buffer = await OpenAsync(Limits(WhenFull.RejectNew) with { CommitInterval = TimeSpan.FromHours(1) });
        var bursts = 0;
        while (!await IsRefusedAsync()) Assert.True(++bursts < 1_000, "the buffer did not become full");
        Assert.Equal("Refusing", buffer.GetStatus().Storage.ToString());
        Assert.Equal(0, Lines(RoomAgain));

        // One transaction: if it is refused, a smaller one may still fit.
        async Task<bool> IsRefusedAsync()
        {
            var stored = Enumerable.Range(0, readings).Select(i => buffer.EnqueueAsync(BufferFixture.Incompressible(i), Token).AsTask()).ToList();
            await buffer.CommitAsync(Token);
            return await Record.ExceptionAsync(() => Task.WhenAll(stored)) is BufferRejectedException;
        }
    }

    [Fact]
    public async Task Refused_readings_are_reported_and_counted_when_nothing_is_committed()
    {
        long refused;
        await using (var buffer = await OpenAsync(Limits(WhenFull.RejectNew)))
        {
            refused = await FillAsync(buffer, 20_000);
            Assert.True(refused > 0);
            var status = buffer.GetStatus();
            Assert.Equal("Refusing", status.Storage.ToString());
            Assert.Equal("the buffer has reached its limit of 1 MB: new readings are refused", status.StorageReason);
            Assert.Equal(refused, Refused(buffer));
            refused += await FillAsync(buffer, 100);
            buffer.Enqueue(BufferFixture.Incompressible(1));
            refused++;
            Assert.Equal(refused, Refused(buffer));

            // Waking the writer, or a commit that needs no room, does not end the episode.
            await buffer.CommitAsync(Token);
            Assert.Equal("Refusing", buffer.GetStatus().Storage.ToString());
            var commits = buffer.GetStatus().Commits;
            refused += await FillAsync(buffer, 100);
            Assert.Equal((refused, commits), (Refused(buffer), buffer.GetStatus().Commits));
            Assert.Equal(1, Lines("<4>", "The buffer has reached its limit of 1 MB: new readings are refused"));
            Assert.Equal(0, Lines(RoomAgain));
        }

        // Closing writes the pending counts.
        await using var again = await OpenAsync(Limits(WhenFull.RejectNew));
        Assert.Equal(refused, Refused(again));
        // Opening may have made room for a few readings.
        refused += await FillAsync(again, 20_000);
        Assert.Equal("Refusing", again.GetStatus().Storage.ToString());

        await again.AcknowledgeAsync(1, again.LastCommittedId, Token);
        await Until.True(() => again.GetStatus() is { Storage: StorageState.Ok, StorageReason: null });
        await _log.Waits(RoomAgain);
        Assert.Equal(1, Lines("<6>", RoomAgain));
        Assert.Equal(refused, Refused(again));
    }

    [Theory]
    [InlineData(nameof(WhenFull.Thin), 1, "old readings are thinned")]
    [InlineData(nameof(WhenFull.Thin), 2, "old readings are thinned", Explicit = true)]
    [InlineData(nameof(WhenFull.DropOldest), 1, "the oldest readings are dropped")]
    [InlineData(nameof(WhenFull.DropOldest), 4, "the oldest readings are dropped", Explicit = true)]
    public async Task A_buffer_that_stays_at_its_limit_logs_one_line_and_another_when_it_has_room_again(string whenFull, int megabytes, string what)
    {
        // The fill level depends on the size of transactions: always a hundred readings here, also on a slow machine.
        var limits = Limits(Enum.Parse<WhenFull>(whenFull), megabytes) with { CommitInterval = TimeSpan.FromHours(1) };
        await using var buffer = await OpenAsync(limits, new FakeTimeProvider(BufferFixture.Noon));
        await StoreAsync(buffer, 3_000);
        Assert.Null(buffer.GetStatus().StorageReason);

        // A little is delivered now and then, and more is stored.
        var rounds = Tier.Size("TEST_BUFFER_FULL_ROUNDS", quick: 3, full: 20, deep: 20);
        for (var i = 0; i < rounds; i++)
        {
            await StoreAsync(buffer, megabytes * 4_000);
            if (i > 3) await AcknowledgeAsync(buffer, 100);
        }

        Assert.Equal(1, Lines("<4>", $"The buffer has reached its limit of {megabytes} MB: {what}"));
        Assert.Equal(0, Lines(RoomAgain));
        var status = buffer.GetStatus();
        Assert.Equal((StorageState.Ok, $"the buffer has reached its limit of {megabytes} MB: {what}"), (status.Storage, status.StorageReason));

        await AcknowledgeAsync(buffer, buffer.GetStatus().Depth - 100);
        await Until.True(() => Lines(RoomAgain) == 1 && buffer.GetStatus().StorageReason is null);
        await StoreAsync(buffer, megabytes * 10_000);
        Assert.Equal((2, 1), (Lines("<4>", what), Lines("<6>", RoomAgain)));

        // The limit is doubled: the episode ends before anything is sent.
        buffer.ApplyLimits(limits with { MaxBytes = 2 * limits.MaxBytes });
        await Until.True(() => Lines(RoomAgain) == 2);
    }

    public void Dispose() => _fixture.Dispose();

    static BufferLimits Limits(WhenFull whenFull, int megabytes = 1) =>
        BufferFixture.AtOnce with { MaxBytes = (long)megabytes << 20, WhenFull = whenFull };

    Task<TelemetryBuffer> OpenAsync(BufferLimits limits, TimeProvider? clock = null) =>
        _fixture.OpenAsync(limits, clock, logger: _log.For<TelemetryBuffer>());

    int Lines(params string[] parts) => _log.All.Count(line => parts.All(part => line.Contains(part, StringComparison.Ordinal)));

    static long Refused(TelemetryBuffer buffer) => buffer.GetStatus().Evicted.Where(total => total.Reason == "rejected").Sum(total => total.Count);

    static async Task AcknowledgeAsync(TelemetryBuffer buffer, long readings)
    {
        var rows = buffer.PeekBatch(0, (int)readings, int.MaxValue);
        var acknowledged = buffer.AcknowledgeAsync(rows[0].Id, rows[^1].Id, Token);
        await buffer.CommitAsync(Token);
        await acknowledged;
    }

    /// <summary>Stores a hundred readings with each transaction.</summary>
    static async Task StoreAsync(TelemetryBuffer buffer, int readings)
    {
        foreach (var some in Enumerable.Range(0, readings).Chunk(100))
        {
            var stored = some.Select(i => buffer.EnqueueAsync(BufferFixture.Incompressible(i), Token).AsTask()).ToList();
            await buffer.CommitAsync(Token);
            await Task.WhenAll(stored);
        }
    }

    /// <returns>The number of readings refused.</returns>
    static async Task<int> FillAsync(TelemetryBuffer buffer, int readings)
    {
        var refused = 0;
        foreach (var some in Enumerable.Range(0, readings).Chunk(100))
        {
            foreach (var task in some.Select(i => buffer.EnqueueAsync(BufferFixture.Incompressible(i), Token).AsTask()).ToList())
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
