using System.Text;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Readings that another program sends together, and waits for.</summary>
public sealed class RequestTests : IDisposable
{
    static readonly BufferLimits Slow = new() { CommitInterval = TimeSpan.FromMinutes(1) };

    readonly BufferFixture _fixture = new(inMemory: true);

    static CancellationToken Token => BufferFixture.Token;

    public void Dispose() => _fixture.Dispose();

    static ReadOnlyMemory<byte>[] Payloads(int count, int bytes = 0) => [.. Enumerable.Range(1, count).Select(i =>
        (ReadOnlyMemory<byte>)Encoding.UTF8.GetBytes($$"""{"sensor":"a","kind":"http","time":"2026-11-24T12:00:00.000Z","values":{"i":{{i}}},"more":"{{new string('x', bytes)}}"}"""))];

    static Task StoreAsync(TelemetryBuffer buffer, ReadOnlyMemory<byte>[] payloads, TimeSpan within = default) =>
        buffer.EnqueueRequestAsync(payloads, BufferFixture.Noon, within, Token);

    [Fact]
    public async Task The_readings_of_a_request_are_committed_in_order_in_one_transaction()
    {
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(Slow, time);
        var first = buffer.EnqueueAsync(BufferFixture.Reading(0), Token).AsTask();
        var commits = buffer.GetStatus().Commits;
        await StoreAsync(buffer, Payloads(1_000));
        Assert.Equal(1, await first);
        Assert.Equal((1_001, commits + 1), (buffer.LastCommittedId, buffer.GetStatus().Commits));
        Assert.Equal(
            Enumerable.Range(1, 1_000).Select(i => $"\"i\":{i}}}"),
            BufferFixture.ReadAll(buffer).Skip(1).Select(row => BufferFixture.Text(row).Split('{', '}')[2] + "}"));
    }

    [Fact]
    public async Task The_readings_of_a_request_are_committed_within_the_requested_time_and_not_earlier()
    {
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(Slow, time);
        var slow = buffer.EnqueueAsync(BufferFixture.Reading(0), Token).AsTask();
        var within = StoreAsync(buffer, Payloads(1), TimeSpan.FromSeconds(10));
        var turns = buffer.Turns;
        time.Advance(TimeSpan.FromSeconds(9.9));
        buffer.Nudge();
        await Until.True(() => buffer.Turns > turns + 1 || Nudged(buffer));
        Assert.False(within.IsCompleted);
        await Until.True(() => within.IsCompleted, time, TimeSpan.FromSeconds(0.01));
        await within;
        await slow;

        // A later reading waits for the commit interval again.
        var next = buffer.EnqueueAsync(BufferFixture.Reading(1), Token).AsTask();
        time.Advance(TimeSpan.FromSeconds(30));
        turns = buffer.Turns;
        await Until.True(() => buffer.Turns > turns + 1 || Nudged(buffer));
        Assert.False(next.IsCompleted);

        static bool Nudged(TelemetryBuffer buffer)
        {
            buffer.Nudge();
            return false;
        }
    }

    [Fact]
    public async Task A_request_too_large_for_one_transaction_is_stored_in_several()
    {
        await using var buffer = await _fixture.OpenAsync(BufferFixture.AtOnce with { MaxBytes = 1 << 20, WhenFull = WhenFull.DropOldest });
        await StoreAsync(buffer, Payloads(500, bytes: 1_000));
        Assert.Equal(500, buffer.LastCommittedId);
    }

    [Fact]
    public async Task Half_of_the_memory_is_reserved_for_sensors_and_refused_requests_are_not_counted_as_evicted()
    {
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(Slow, time, options => options with { RingReadings = 100 });
        var first = StoreAsync(buffer, Payloads(30), TimeSpan.FromMinutes(1));
        await Assert.ThrowsAsync<BufferRejectedException>(() => StoreAsync(buffer, Payloads(21)));
        var second = StoreAsync(buffer, Payloads(20), TimeSpan.FromMinutes(1));
        await Assert.ThrowsAsync<BufferRejectedException>(() => StoreAsync(buffer, Payloads(1)));
        Assert.Empty(buffer.GetStatus().Evicted);
        await buffer.CommitAsync(Token);
        await Task.WhenAll(first, second);
        Assert.Equal(50, buffer.LastCommittedId);
    }

    [Fact]
    public async Task Readings_of_sensors_evict_those_of_a_request_from_full_memory_and_the_request_fails()
    {
        var time = new FakeTimeProvider(BufferFixture.Noon);
        await using var buffer = await _fixture.OpenAsync(Slow, time, options => options with { RingReadings = 10 });
        var request = StoreAsync(buffer, Payloads(5), TimeSpan.FromMinutes(1));
        var readings = Enumerable.Range(0, 6).Select(i => buffer.EnqueueAsync(BufferFixture.Reading(i), Token).AsTask()).ToList();
        await Assert.ThrowsAsync<BufferRejectedException>(() => request);
        Assert.Empty(buffer.GetStatus().Evicted);
        await buffer.CommitAsync(Token);
        await Task.WhenAll(readings);

        // The other readings of the request were stored; the sender sends all of them again.
        Assert.Equal(10, buffer.LastCommittedId);
    }

    [Fact]
    public async Task A_request_to_a_closed_buffer_fails()
    {
        var time = new FakeTimeProvider(BufferFixture.Noon);
        var buffer = await _fixture.OpenAsync(Slow, time);
        var request = StoreAsync(buffer, Payloads(5), TimeSpan.FromMinutes(1));
        await buffer.DisposeAsync();
        await request;
        await Assert.ThrowsAsync<BufferUnavailableException>(() => StoreAsync(buffer, Payloads(1)));
    }

    [Fact]
    public async Task An_invalid_payload_becomes_a_dead_letter_with_its_own_id_and_can_be_retried()
    {
        await using (var buffer = await _fixture.OpenAsync())
        {
            var payloads = Payloads(2);
            await buffer.AddDeadLetterAsync(payloads[0], BufferFixture.Noon, "Malformed", "why", Token);
            Assert.Equal(2, await buffer.EnqueueAsync(BufferFixture.Reading(1), Token));
            await buffer.AddDeadLetterAsync(payloads[1], BufferFixture.Noon, "TooLarge", null, Token);
            var status = buffer.GetStatus();
            Assert.Equal((2, 2, 1), (status.DeadLetters, status.DeadLettered, status.Depth));
        }

        await using var again = await _fixture.OpenAsync();
        Assert.Equal(4, await again.EnqueueAsync(BufferFixture.Reading(2), Token));
        Assert.Equal([2, 4], BufferFixture.ReadAll(again).Select(row => row.Id));
        Assert.Equal(
            [(1, "Malformed", "why"), (3, "TooLarge", null)],
            again.ListDeadLetters(0, 10).Select(letter => (letter.Id, letter.Reason, letter.Answer)));
        Assert.Equal(2, await again.RetryDeadLettersAsync(Token));
        var all = BufferFixture.ReadAll(again, batch: 1);
        Assert.Equal([1, 2, 3, 4], all.Select(row => row.Id));
        Assert.All(all, row => Assert.NotEmpty(row.Epoch));
        Assert.Equal(Encoding.UTF8.GetString(Payloads(2)[1].Span), BufferFixture.Text(all[2]));
    }

    [Fact]
    public async Task Dead_letters_of_other_programs_are_evicted_before_they_displace_readings()
    {
        await using var buffer = await _fixture.OpenAsync(BufferFixture.AtOnce with { MaxBytes = 1 << 20 });
        var id = await buffer.EnqueueAsync(BufferFixture.Reading(1), Token);
        for (var i = 0; i < 20; i++)
            await buffer.AddDeadLetterAsync(Payloads(1, 30_000)[0], BufferFixture.Noon, "TooLarge", $"{i}", Token);
        Assert.Equal(id, Assert.Single(BufferFixture.ReadAll(buffer)).Id);
        var kept = buffer.ListDeadLetters(0, 100).Select(letter => letter.Answer).ToList();
        Assert.InRange(kept.Count, 1, 4);
        Assert.Equal("19", kept[^1]);
        await Until.True(() => 20 - kept.Count ==
            buffer.GetStatus().Evicted.Where(total => total.Reason == EvictionLedger.Undeliverable).Sum(total => total.Count));
    }
}
