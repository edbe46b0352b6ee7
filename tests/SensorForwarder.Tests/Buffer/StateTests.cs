using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Tests.Buffer;

/// <summary>The states waiting, handed over and delivered.</summary>
public sealed class StateTests : IDisposable
{
    readonly BufferFixture _fixture = new(inMemory: true);

    static CancellationToken Token => BufferFixture.Token;

    [Fact]
    public async Task Handed_over_readings_are_kept_but_not_sent_and_wait_again_when_they_are_returned()
    {
        await using (var buffer = await _fixture.OpenAsync())
        {
            await StoreAsync(buffer, 20);
            await buffer.HandOverAsync(IdSet.OfRanges([new(1, 5), new(8, 12)]), Token);
            AssertWaiting(buffer, 6, 7, 13, 14, 15, 16, 17, 18, 19, 20);
            Assert.Equal(20, BufferFixture.ReadAny(buffer).Count);
        }

        await using var again = await _fixture.OpenAsync();
        AssertWaiting(again, 6, 7, 13, 14, 15, 16, 17, 18, 19, 20);
        await again.AcknowledgeAsync(IdSet.Of(1, 4), Token);
        var returned = 0;
        again.ReadingsReturned += () => returned++;
        // One of these ids is delivered, and one was never assigned.
        await again.GiveBackAsync(IdSet.OfRanges([new(5, 6), new(8, 12)]), Token);
        Assert.Equal(1, returned);
        AssertWaiting(again, [5, 6, 7, 8, 9, 10, .. Enumerable.Range(11, 10).Select(i => (long)i)]);
    }

    [Fact]
    public async Task Retained_delivered_readings_can_be_sent_again()
    {
        await using var buffer = await _fixture.OpenAsync(BufferFixture.AtOnce with { RetainForwarded = TimeSpan.FromDays(10_000) });
        await StoreAsync(buffer, 10);
        await buffer.AcknowledgeAsync(IdSet.Of(1, 10), Token);
        AssertWaiting(buffer);
        await buffer.GiveBackAsync(IdSet.Of(3, 30), Token);
        AssertWaiting(buffer, 3, 4, 5, 6, 7, 8, 9, 10);
    }

    [Fact]
    public async Task With_every_other_reading_delivered_the_stored_state_stays_small()
    {
        await using (var buffer = await _fixture.OpenAsync())
        {
            await StoreAsync(buffer, 6_000);
            for (var id = 1L; id <= 6_000; id += 400)
                await buffer.AcknowledgeAsync(IdSet.Of(Enumerable.Range(0, 200).Select(i => id + (2 * i))), Token);
            AssertWaiting(buffer, [.. Enumerable.Range(1, 3_000).Select(i => 2L * i)]);
        }

        await using var again = await _fixture.OpenAsync();
        AssertWaiting(again, [.. Enumerable.Range(1, 3_000).Select(i => 2L * i)]);
        Assert.InRange(new FileInfo(_fixture.DatabasePath + "-wal").Length, 0, 1 << 20);
    }

    [Fact]
    public async Task A_reading_with_any_time_is_stored_and_read_back()
    {
        DateTimeOffset[] times = [DateTimeOffset.MinValue, DateTimeOffset.UnixEpoch, DateTimeOffset.MaxValue];
        await using (var buffer = await _fixture.OpenAsync(BufferFixture.AtOnce with { MaxAge = TimeSpan.FromDays(100_000) }))
        {
            foreach (var time in times) await buffer.EnqueueAsync(BufferFixture.Reading(1) with { Time = time }, Token);
            Assert.Equal(3, buffer.GetStatus().Depth);
        }

        await using var again = await _fixture.OpenAsync();
        Assert.Equal(
            times.Select(time => time.ToUnixTimeMilliseconds()),
            BufferFixture.ReadAll(again).Select(row => row.RecordedAt.ToUnixTimeMilliseconds()));
        _ = again.GetStatus();
    }

    public void Dispose() => _fixture.Dispose();

    static Task<long[]> StoreAsync(TelemetryBuffer buffer, int count) => Task.WhenAll(Enumerable.Range(1, count)
        .Select(number => buffer.EnqueueAsync(BufferFixture.Reading(number), Token).AsTask()).ToList());

    static void AssertWaiting(TelemetryBuffer buffer, params long[] ids)
    {
        var rows = BufferFixture.ReadAll(buffer);
        Assert.Equal(ids, rows.Select(row => row.Id));
        Assert.Equal((ids.Length, rows.Count > 0 ? rows[0].RecordedAt : (DateTimeOffset?)null), (buffer.GetStatus().Depth, buffer.GetStatus().OldestRecordedAt));
    }
}
