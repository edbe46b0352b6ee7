using System.Text.Json;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Corrected times of readings taken while the wall clock was wrong.</summary>
public sealed class ClockTests : IDisposable
{
    readonly BufferFixture _fixture = new();
    readonly FakeTimeProvider _time = new(BufferFixture.Noon);
    KernelTime _kernel = new(TimeSpan.FromMinutes(1), "first boot", Synchronized: false);

    [Fact]
    public async Task A_reading_taken_before_the_clock_was_set_gets_its_correct_time_in_the_same_boot()
    {
        await using var buffer = await OpenAsync();
        await EnqueueAsync(buffer);
        Assert.Equal("unsynchronized", TimeQuality(Assert.Single(BufferFixture.ReadAll(buffer))));

        // After a minute the time service sets the clock forward by three hours.
        Pass(TimeSpan.FromMinutes(1));
        SetClock(TimeSpan.FromHours(3), synchronized: true);
        await EnqueueAsync(buffer);
        var rows = BufferFixture.ReadAll(buffer);
        Assert.All(rows, row => Assert.Null(TimeQuality(row)));
        Assert.Equal("2026-11-24T15:00:00.000Z", Time(rows[0]));
        Assert.Equal(BufferFixture.Noon.AddHours(3), rows[0].RecordedAt);
        Assert.Equal("2026-11-24T15:01:00.000Z", Time(rows[1]));
    }

    [Fact]
    public async Task Times_are_corrected_after_a_restart_of_the_process()
    {
        await using (var buffer = await OpenAsync())
        {
            await EnqueueAsync(buffer);
        }
        SetClock(TimeSpan.FromHours(3), synchronized: true);
        await using var again = await OpenAsync();
        await EnqueueAsync(again);
        Assert.Equal("2026-11-24T15:00:00.000Z", Time(BufferFixture.ReadAll(again)[0]));
    }

    [Fact]
    public async Task A_reading_of_an_earlier_boot_whose_clock_was_never_set_is_marked_unsynchronized()
    {
        await using (var buffer = await OpenAsync())
        {
            await EnqueueAsync(buffer);
        }
        _kernel = new KernelTime(TimeSpan.FromSeconds(20), "second boot", Synchronized: true);
        await using var again = await OpenAsync();
        await EnqueueAsync(again);
        var rows = BufferFixture.ReadAll(again);
        Assert.Equal("unsynchronized", TimeQuality(rows[0]));
        Assert.Equal("2026-11-24T12:00:00.000Z", Time(rows[0]));
        Assert.Null(TimeQuality(rows[1]));
    }

    [Fact]
    public async Task A_time_set_by_another_program_is_not_changed_and_only_the_time_of_arrival_is_corrected()
    {
        await using var buffer = await OpenAsync();
        ReadOnlyMemory<byte> payload = ReadingEncoder.Encode(
            BufferFixture.Reading(0) with { Time = BufferFixture.Noon.AddHours(-7) }).ToArray();
        ReadOnlyMemory<byte> withoutTime = "{\"sensor\":\"a\"}"u8.ToArray();
        ReadOnlyMemory<byte> withShortTime = "{\"sensor\":\"a\",\"time\":\"2026\"}"u8.ToArray();
        await buffer.EnqueueRequestAsync(
            [payload, withoutTime, withShortTime], _time.GetUtcNow(), TimeSpan.Zero, BufferFixture.Token);
        ExpectUnchanged(BufferFixture.Noon);
        SetClock(TimeSpan.FromHours(3), synchronized: true);
        await EnqueueAsync(buffer);
        ExpectUnchanged(BufferFixture.Noon.AddHours(3));
        using var history = buffer.OpenHistory();
        var shown = history.PeekSensor("attic", 0, 10, 10_000).Readings;
        Assert.Equal([BufferFixture.Noon.AddHours(-7), BufferFixture.Noon.AddHours(3)], shown.Select(row => row.RecordedAt));

        void ExpectUnchanged(DateTimeOffset arrived)
        {
            var rows = BufferFixture.ReadAll(buffer).Take(3).ToList();
            Assert.Equal([payload, withoutTime, withShortTime], rows.Select(row => row.Payload), SameBytes);
            Assert.All(rows, row => Assert.Equal(arrived, row.RecordedAt));
        }
    }

    [Fact]
    public async Task A_step_of_the_wall_clock_ages_and_evicts_no_reading()
    {
        _kernel = _kernel with { Synchronized = true };
        await using var buffer = await OpenAsync(BufferFixture.AtOnce with { MaxAge = TimeSpan.FromHours(1) });
        await EnqueueAsync(buffer);
        // The clock is set years ahead; the reading is still a minute old.
        SetClock(TimeSpan.FromDays(1_000), synchronized: true);
        Pass(TimeSpan.FromMinutes(1));
        await EnqueueAsync(buffer);
        Assert.Equal(TimeSpan.FromMinutes(1), buffer.GetStatus().OldestAge);
        Assert.Empty(buffer.GetStatus().Evicted);
        Assert.Equal(2, BufferFixture.ReadAll(buffer).Count);
        // Two hours of uptime do age it.
        while (buffer.GetStatus().Depth > 0)
        {
            Pass(TimeSpan.FromHours(2));
            await Task.Yield();
        }
        Assert.Equal(2, buffer.GetStatus().Evicted.Single(e => e.Reason == "expired").Count);
    }

    [Fact]
    public void Drift_begins_no_segment_and_a_flapping_synchronization_state_does_not_add_segments_without_limit()
    {
        var clock = new ReadingClock(_time, () => _kernel, []);
        var first = clock.Current();
        _time.Advance(TimeSpan.FromMilliseconds(300));
        Assert.Same(first, clock.Current());
        for (var i = 0; i < 100; i++)
        {
            _kernel = _kernel with { Synchronized = i % 2 == 0 };
            clock.Current();
        }
        Assert.Equal(2, clock.Segments.Count);
    }

    [Fact]
    public void The_uptime_and_the_boot_id_of_the_kernel_are_read()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Linux only");
        var (first, second) = (LinuxClocks.Read(), LinuxClocks.Read());
        Assert.True(first.Uptime > TimeSpan.Zero && second.Uptime >= first.Uptime);
        Assert.Equal(File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim(), first.BootId);
    }

    public void Dispose() => _fixture.Dispose();

    Task<TelemetryBuffer> OpenAsync(BufferLimits? limits = null) =>
        _fixture.OpenAsync(limits, _time, o => o with { KernelTime = () => _kernel });

    async Task EnqueueAsync(TelemetryBuffer buffer) => await buffer.EnqueueAsync(
        BufferFixture.Reading(0) with { Time = _time.GetUtcNow() }, BufferFixture.Token);

    // Advances wall clock and uptime.
    void Pass(TimeSpan time)
    {
        _kernel = _kernel with { Uptime = _kernel.Uptime + time };
        _time.Advance(time);
    }

    // Steps the wall clock only.
    void SetClock(TimeSpan ahead, bool synchronized)
    {
        _time.AdjustTime(_time.GetUtcNow() + ahead);
        _kernel = _kernel with { Synchronized = synchronized };
    }

    static bool SameBytes(ReadOnlyMemory<byte> one, ReadOnlyMemory<byte> other) => one.Span.SequenceEqual(other.Span);

    static string? TimeQuality(BufferedReading row)
    {
        using var json = JsonDocument.Parse(row.Payload);
        return json.RootElement.TryGetProperty("timeQuality", out var quality) ? quality.GetString() : null;
    }

    static string Time(BufferedReading row)
    {
        using var json = JsonDocument.Parse(row.Payload);
        return json.RootElement.GetProperty("time").GetString()!;
    }
}
