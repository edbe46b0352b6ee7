using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Retained delivered readings. <see cref="ModelTests"/> checks the rule for any order of operations.</summary>
public sealed class RetentionTests : IDisposable
{
    static readonly BufferLimits OneHour = BufferFixture.AtOnce with { RetainForwarded = TimeSpan.FromHours(1) };

    readonly BufferFixture _fixture = new(inMemory: true);
    readonly FakeTimeProvider _time = new(BufferFixture.Noon);
    int _number;

    [Theory]
    [InlineData(false, Explicit = true)]
    [InlineData(true, Explicit = true)]
    public async Task Delivered_readings_are_retained_for_the_configured_time_and_then_deleted(bool isEncrypted)
    {
        await using var buffer = await OpenAsync(OneHour, isEncrypted);
        var ages = new Dictionary<long, DateTimeOffset>();
        // The newer half of each ten is delivered before the older one.
        for (var minute = 0; minute < 180; minute++)
        {
            for (var i = 0; i < 10; i++)
                ages[await EnqueueAsync(buffer)] = _time.GetUtcNow();
            var last = buffer.LastCommittedId;
            await buffer.AcknowledgeAsync(last - 4, last, BufferFixture.Token);
            await buffer.AcknowledgeAsync(last - 9, last - 5, BufferFixture.Token);
            _time.Advance(TimeSpan.FromMinutes(1));
            await SettleAsync(buffer);
            var there = BufferFixture.ReadAny(buffer).Select(r => r.Id).ToHashSet();
            Assert.All(ages.Where(r => _time.GetUtcNow() - r.Value <= TimeSpan.FromHours(1)), r => Assert.Contains(r.Key, there));
            // At most an eighth of the time later, plus the check interval of half a minute.
            Assert.All(there, id => Assert.True(_time.GetUtcNow() - ages[id] < TimeSpan.FromMinutes(69), $"{id}"));
            Assert.Equal((0, 0), (buffer.GetStatus().Depth, buffer.PeekBatch(0, 10, 1 << 20).Count));
        }
    }

    [Fact]
    public async Task In_a_full_buffer_delivered_readings_are_deleted_before_any_waiting_reading()
    {
        var limits = OneHour with { MaxBytes = 2 << 20 };
        await using var buffer = await OpenAsync(limits, isEncrypted: false);
        var most = 0L;
        for (var i = 10; i <= 20_000; i += 10)
        {
            await Task.WhenAll(Enumerable.Range(0, 10).Select(_ => EnqueueAsync(buffer).AsTask()).ToList());
            // All but one of a thousand are delivered.
            if (i % 500 == 0)
                await buffer.AcknowledgeAsync(i - (i % 1_000 == 0 ? 498 : 499), i - 1, BufferFixture.Token);
            most = Math.Max(most, buffer.GetStatus().FileBytes);
        }
        Assert.True(most <= limits.MaxBytes, $"{most} bytes on the volume");
        Assert.Empty(buffer.GetStatus().Evicted);
        var any = BufferFixture.ReadAny(buffer).Select(r => r.Id).ToList();
        var waiting = BufferFixture.ReadAll(buffer).Select(r => r.Id).ToList();
        Assert.Equal(buffer.GetStatus().Depth, waiting.Count);
        // The remaining room is used for the newest delivered readings.
        Assert.InRange(any.Count, 2_000, 20_000);
        var forwarded = any.Except(waiting).ToList();
        Assert.Equal(forwarded.Count, forwarded[^1] - forwarded[0] + 1 - waiting.Count(id => id > forwarded[0] && id < forwarded[^1]));
    }

    [Fact]
    public async Task When_retention_is_switched_off_delivered_readings_are_deleted_and_the_file_shrinks()
    {
        await using var buffer = await OpenAsync(OneHour, isEncrypted: false);
        for (var i = 0; i < 200; i++)
            await Task.WhenAll(Enumerable.Range(0, 100).Select(_ => EnqueueAsync(buffer).AsTask()).ToList());
        await buffer.AcknowledgeAsync(10_000, 20_000, BufferFixture.Token);
        await buffer.AcknowledgeAsync(1, 9_999, BufferFixture.Token);
        await SettleAsync(buffer);
        Assert.Equal(20_000, BufferFixture.ReadAny(buffer).Count);
        var before = buffer.GetStatus().FileBytes;
        buffer.ApplyLimits(BufferFixture.AtOnce);
        for (var i = 0; i < 10; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(31));
            await SettleAsync(buffer);
        }
        Assert.Empty(BufferFixture.ReadAny(buffer));
        Assert.InRange(buffer.GetStatus().FileBytes, 0, before - (2 << 20));
        Assert.Equal(20_001, await EnqueueAsync(buffer));
    }

    [Fact]
    public async Task Retained_readings_survive_a_restart_and_are_not_sent_again()
    {
        await using (var buffer = await OpenAsync(OneHour, isEncrypted: false))
        {
            for (var i = 0; i < 30; i++)
                await EnqueueAsync(buffer);
            await buffer.AcknowledgeAsync(21, 30, BufferFixture.Token);
            await buffer.AcknowledgeAsync(1, 10, BufferFixture.Token);
        }
        await using var again = await OpenAsync(OneHour, isEncrypted: false);
        Assert.Equal(Enumerable.Range(1, 30).Select(i => (long)i), BufferFixture.ReadAny(again).Select(r => r.Id));
        Assert.Equal(Enumerable.Range(11, 10).Select(i => (long)i), BufferFixture.ReadAll(again).Select(r => r.Id));
        Assert.Equal(31, await EnqueueAsync(again));
    }

    [Fact]
    public async Task A_salvage_does_not_return_delivered_readings_to_the_queue()
    {
        await using (var buffer = await OpenAsync(OneHour, isEncrypted: false))
        {
            for (var i = 0; i < 3_000; i++)
                await EnqueueAsync(buffer);
            await buffer.AcknowledgeAsync(2_001, 3_000, BufferFixture.Token);
            await buffer.AcknowledgeAsync(1, 1_000, BufferFixture.Token);
        }
        await using (var file = new FileStream(_fixture.DatabasePath, FileMode.Open))
        {
            // Damages the schema, not a row.
            file.Position = 100;
            file.Write(new byte[500]);
        }
        await using var salvaged = await _fixture.OpenAsync(OneHour);
        await Until.True(() => salvaged.GetStatus().Salvage is { IsComplete: true });
        var waiting = BufferFixture.ReadAll(salvaged).Where(r => !BufferFixture.Text(r).Contains("\"gap\"", StringComparison.Ordinal));
        Assert.Equal(Enumerable.Range(1_001, 1_000).Select(i => (long)i), waiting.Select(r => r.Id));
    }

    public void Dispose() => _fixture.Dispose();

    // Wakes the writer and waits for an iteration of its loop.
    static async Task SettleAsync(TelemetryBuffer buffer)
    {
        var turns = buffer.Turns + 2;
        while (buffer.Turns < turns)
        {
            buffer.Nudge();
            await Task.Yield();
        }
    }

    Task<TelemetryBuffer> OpenAsync(BufferLimits limits, bool isEncrypted)
    {
        var keyFile = Path.Combine(_fixture.Directory, "key");
        File.WriteAllBytes(keyFile, new byte[32]);
        return _fixture.OpenAsync(limits, _time, o => o with { Key = isEncrypted ? BufferKey.Read(keyFile) : null });
    }

    // With noise, so that they fill a small buffer.
    ValueTask<long> EnqueueAsync(TelemetryBuffer buffer) => buffer.EnqueueAsync(
        BufferFixture.Incompressible(_number++) with { Time = _time.GetUtcNow() }, BufferFixture.Token);
}
