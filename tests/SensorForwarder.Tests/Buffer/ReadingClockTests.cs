using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Buffer;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Buffer;

/// <summary>Corrected times and ages across boots and clock steps.</summary>
public sealed class ReadingClockTests
{
    static readonly TimeSpan Hour = TimeSpan.FromHours(1);
    readonly FakeTimeProvider _time = new(BufferFixture.Noon);
    KernelTime _kernel = new(Hour, "now", Synchronized: true);

    static long NoonMs => BufferFixture.Noon.ToUnixTimeMilliseconds();

    static long HourMs => (long)Hour.TotalMilliseconds;

    ReadingClock Clock(params ClockSegment[] known) => new(_time, () => _kernel, known);

    [Theory]
    [InlineData(500, 1)]
    [InlineData(501, 2)]
    [InlineData(-500, 1)]
    [InlineData(-501, 2)]
    public void A_step_of_more_than_half_a_second_begins_a_segment(int milliseconds, int segments)
    {
        var clock = Clock();
        clock.Current();
        _time.AdjustTime(_time.GetUtcNow() + TimeSpan.FromMilliseconds(milliseconds));
        Assert.Equal(segments, clock.Current().Id);
        Assert.Equal(segments, clock.Segments.Count);
    }

    [Fact]
    public void A_segment_holds_the_offset_the_boot_and_whether_the_clock_was_set()
    {
        var clock = Clock(new ClockSegment(3, "before", 5, false), new ClockSegment(2, "before", 7, true));
        Assert.Equal(new ClockSegment(4, "now", NoonMs - HourMs, true), clock.Current());
        _kernel = _kernel with { BootId = "later" };
        Assert.Equal(new ClockSegment(5, "later", NoonMs - HourMs, true), clock.Current());
        Assert.Equal([2, 3, 4, 5], clock.Segments.Select(segment => segment.Id));
        Assert.All(clock.Segments, segment => Assert.Same(segment, clock.Find(segment.Id)));
        Assert.Null(clock.Find(1));
        Assert.Null(clock.Find(0));
        Assert.Null(clock.Find(6));
    }

    [Fact]
    public void A_time_is_corrected_by_the_last_clock_that_was_set_in_the_same_boot()
    {
        var clock = Clock(
            new(1, "a", 1000, false), new(2, "a", 5000, true), new(3, "a", 7000, true), new(4, "a", 100, false),
            new(5, "b", 0, false));
        Assert.Equal(
            [6000L, 0L, 0L, 6900L, null, null],
            Enumerable.Range(1, 6).Select(clock.CorrectionMs));
        Assert.Equal(4900, Clock(new(1, "a", 5000, true), new(2, "a", 100, false)).CorrectionMs(2));
    }

    [Fact]
    public void Segments_whose_times_are_comparable_form_one_stretch()
    {
        var clock = Clock(
            new(1, "a", 0, false), new(2, "a", 0, true), new(3, "b", 0, false), new(4, "c", 0, false),
            new(5, "d", 0, false), new(6, "d", 0, true), new(7, "e", 0, true));
        Assert.Equal(
            [(1, 1), (2, 1), (3, 3), (4, 4), (5, 5), (6, 5), (7, 5)],
            clock.Stretches().Select(stretch => (stretch.Key, stretch.Value)));
    }

    [Fact]
    public void An_age_is_measured_by_uptime_within_a_boot_and_by_synchronized_clocks_across_boots()
    {
        var clock = Clock(
            new(1, "before", NoonMs - (9 * HourMs), true), new(2, "unset", 0, false), new(3, "now", 0, false));
        // Taken at an uptime of 15 minutes, with a clock that started in 1970.
        Assert.Equal(Hour * 0.75, clock.Age(HourMs / 4, 3));
        Assert.Equal(TimeSpan.Zero, clock.Age(HourMs * 2, 3));
        Assert.Equal(Hour * 5, clock.Age(NoonMs - (5 * HourMs), 1));
        Assert.Equal(TimeSpan.Zero, clock.Age(NoonMs + HourMs, 1));
        // All that is known is that the device has been up for an hour since.
        Assert.Equal(Hour, clock.Age(NoonMs - (5 * HourMs), 2));
        Assert.Equal(TimeSpan.Zero, clock.Age(0, 99));
        _kernel = _kernel with { Synchronized = false };
        Assert.Equal(Hour * 5, clock.Age(NoonMs - (5 * HourMs), 1)); // synchronised earlier in this boot
    }

    [Fact]
    public void An_age_across_boots_uses_the_corrected_time()
    {
        var clock = Clock(new(1, "before", 0, false), new(2, "before", NoonMs - (9 * HourMs), true));
        // Taken at an uptime of four hours, five hours before noon.
        Assert.Equal(Hour * 5, clock.Age(HourMs * 4, 1));
    }

    [Fact]
    public void Without_a_synchronized_clock_readings_of_earlier_boots_are_at_least_as_old_as_the_uptime()
    {
        _kernel = _kernel with { Synchronized = false };
        var clock = Clock(new ClockSegment(1, "before", NoonMs - (9 * HourMs), true));
        Assert.Equal(Hour, clock.Age(NoonMs - (5 * HourMs), 1));
    }

    [Theory]
    [InlineData(long.MinValue)]
    [InlineData(long.MaxValue)]
    public void A_time_outside_the_valid_range_after_damage_has_an_age(long recordedAtMs)
    {
        var clock = Clock(new ClockSegment(1, "now", 0, false), new ClockSegment(2, "before", 0, true));
        Assert.True(clock.Age(recordedAtMs, 1) >= TimeSpan.Zero);
        Assert.True(clock.Age(recordedAtMs, 2) >= TimeSpan.Zero);
    }

    [Fact]
    public void The_uptime_of_a_fake_clock_counts_from_its_start()
    {
        var kernel = KernelTime.For(_time);
        _time.Advance(Hour);
        Assert.Equal((Hour, true), (kernel().Uptime, kernel().Synchronized));
        Assert.NotEqual("process", KernelTime.For(TimeProvider.System)().BootId);
    }
}
