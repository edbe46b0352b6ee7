using CsCheck;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;

namespace SensorForwarder.Tests.Sensors;

/// <summary>When alarms are raised and cleared, as a function of readings and time.</summary>
public sealed class AlarmWatchTests
{
    static readonly AlarmRule Hot = new(AlarmCondition.Above, "t", 30) { Hysteresis = 2, For = TimeSpan.FromSeconds(60) };

    // A step: seconds since the previous step, and the value read (null: the reading failed; NaN: there is no new value).
    static readonly Gen<(int Seconds, double? Value)[]> Steps = Gen.Select(
        Gen.Int[0, 40], Gen.Frequency((8, Gen.Int[25, 35].Select(value => (double?)value)), (1, Gen.Const((double?)null)), (1, Gen.Const((double?)double.NaN))))
        .Array[1, 80];

    static Reading Reading(double? value) => new()
    {
        Sensor = "attic",
        Kind = "simulated",
        Time = BufferFixture.Noon,
        Quality = value is null ? ReadingQuality.Bad : ReadingQuality.Good,
        Reason = value is null ? "io" : null,
        Values = value is { } number && !double.IsNaN(number) ? [new("other", 1e6), new("t", number)] : [],
    };

    /// <summary>The state after each step.</summary>
    static List<(TimeSpan At, double? Value, bool IsRaised, AlarmChange? Change)> Run(AlarmRule rule, params (int Seconds, double? Value)[] steps)
    {
        var (watch, now, isRaised) = (new AlarmWatch(rule), TimeSpan.Zero, false);
        var states = new List<(TimeSpan, double?, bool, AlarmChange?)>();
        foreach (var (seconds, value) in steps)
        {
            now += TimeSpan.FromSeconds(seconds);
            var change = watch.Observe(Reading(value), now, isRaised);
            if (change is { } changed)
            {
                Assert.NotEqual(isRaised, changed.IsRaised);
                isRaised = changed.IsRaised;
            }

            states.Add((now, value, isRaised, change));
        }

        return states;
    }

    static bool[] States(AlarmRule rule, params (int Seconds, double? Value)[] steps) => [.. Run(rule, steps).Select(state => state.IsRaised)];

    [Fact]
    public void Values_of_unknown_age_are_evaluated_but_do_not_end_a_silence()
    {
        var (old, now) = (Reading(31), TimeSpan.FromSeconds(100));
        Assert.Equal(new AlarmChange(true, now), new AlarmWatch(new(AlarmCondition.SilentForSeconds, null, 60)).Observe(old, now, isRaised: false, isOld: true));
        Assert.Null(new AlarmWatch(new(AlarmCondition.SilentForSeconds, null, 60)).Observe(old, now, isRaised: true, isOld: true));
        Assert.Equal(new AlarmChange(false, TimeSpan.Zero), new AlarmWatch(new(AlarmCondition.Bad, null, 0)).Observe(old, now, isRaised: true, isOld: true));
        Assert.Equal(new AlarmChange(true, TimeSpan.Zero), new AlarmWatch(new(AlarmCondition.Above, "t", 30)).Observe(old, now, isRaised: false, isOld: true));
    }

    [Fact]
    public void A_threshold_alarm_is_raised_after_its_hold_time_and_cleared_beyond_the_hysteresis()
    {
        Assert.Equal([false, false, true, true, true, false], States(Hot, (0, 31), (59, 31), (1, 31), (1, 30), (1, 28.1), (1, 28)));
        Assert.Equal([false, false, false, false, true], States(Hot, (0, 31), (59, 31), (1, 30), (1, 31), (60, 31)));
        Assert.Equal(TimeSpan.FromSeconds(75), Run(Hot, (5, 31), (50, 32), (25, 31))[2].Change!.Value.Held);
        Assert.Equal([false, true, false], States(Hot with { For = TimeSpan.Zero }, (0, 30), (1, 30.01), (1, 28)));
        var cold = Hot with { Condition = AlarmCondition.Below, Threshold = 5, For = TimeSpan.Zero };
        Assert.Equal([false, true, true, false], States(cold, (0, 5), (1, 4.9), (1, 6.9), (1, 7)));
    }

    [Fact]
    public void A_failed_reading_does_not_affect_a_threshold_alarm() =>
        Assert.Equal([false, false, true, true, false], States(Hot, (0, 31), (60, null), (1, 31), (100, null), (1, 20)));

    [Fact]
    public void A_bad_alarm_is_raised_when_failures_last_long_enough_and_cleared_by_the_next_values()
    {
        var bad = new AlarmRule(AlarmCondition.Bad, null, 0) { For = TimeSpan.FromSeconds(10) };
        Assert.Equal([false, false, true, true, false], States(bad, (0, null), (9, null), (1, null), (1, double.NaN), (1, 20)));
        Assert.Equal([false, false, false], States(bad, (0, null), (9, 20), (1, null)));
    }

    [Fact]
    public void Silence_is_measured_from_the_last_reading_with_values()
    {
        var silent = new AlarmRule(AlarmCondition.SilentForSeconds, null, 60);
        var states = Run(silent, (30, 20), (59, null), (1, double.NaN), (1, null), (1, 20), (30, null));
        Assert.Equal([false, false, true, true, false, false], states.Select(state => state.IsRaised));
        Assert.Equal(TimeSpan.FromSeconds(60), states[2].Change!.Value.Held);
        Assert.Equal([false, true], States(silent, (59, null), (1, null))); // since the start
    }

    [Fact]
    public void A_change_is_measured_between_consecutive_readings_or_within_a_time_window()
    {
        var jump = new AlarmRule(AlarmCondition.ChangesBy, "t", 5);
        Assert.Equal([false, false, true, false, true], States(jump, (1, 20), (1, 25), (1, 30.1), (1, 30), (1, 20)));
        var drift = jump with { For = TimeSpan.FromSeconds(160) };
        Assert.Equal([false, false, true, true, false], States(drift, (0, 20), (80, 24), (80, 26), (5, 26), (75, 26)));
        Assert.Equal([false, false, false], States(drift, (0, 20), (100, 24), (100, 27)));
    }

    [Fact]
    public void An_alarm_raised_before_a_restart_stays_raised_until_a_reading_clears_it()
    {
        foreach (var rule in new[] { Hot, new(AlarmCondition.SilentForSeconds, null, 60), new(AlarmCondition.Bad, null, 0), new(AlarmCondition.ChangesBy, "t", 5) { For = TimeSpan.FromSeconds(30) } })
        {
            var watch = new AlarmWatch(rule);
            Assert.Null(watch.Observe(Reading(double.NaN), TimeSpan.FromSeconds(1), isRaised: true));
            if (rule.Condition == AlarmCondition.ChangesBy) Assert.Null(watch.Observe(Reading(20), TimeSpan.FromSeconds(2), isRaised: true));
            Assert.Equal(new AlarmChange(false, TimeSpan.Zero), watch.Observe(Reading(20), TimeSpan.FromSeconds(40), isRaised: true));
        }
    }

    [Fact]
    public void An_alarm_change_that_was_not_stored_is_returned_again_by_the_next_reading()
    {
        var watch = new AlarmWatch(Hot with { For = TimeSpan.Zero });
        Assert.Equal(TimeSpan.Zero, watch.Observe(Reading(31), TimeSpan.FromSeconds(1), isRaised: false)!.Value.Held);
        Assert.Equal(TimeSpan.FromSeconds(4), watch.Observe(Reading(31), TimeSpan.FromSeconds(5), isRaised: false)!.Value.Held);
    }

    [Fact]
    public void For_any_readings_a_threshold_alarm_is_raised_exactly_when_its_condition_has_held_long_enough() => Steps.Sample(steps =>
    {
        TimeSpan? above = null;
        var expected = false;
        foreach (var (at, value, isRaised, _) in Run(Hot, steps))
        {
            if (value is { } number && !double.IsNaN(number))
            {
                var holds = number > (expected ? 28 : 30);
                above = holds ? above ?? at : null;
                expected = holds && (expected || at - above >= Hot.For);
            }

            Assert.Equal(expected, isRaised);
        }
    });

    [Fact]
    public void For_any_readings_a_change_within_the_window_raises_the_alarm_and_a_slower_change_does_not() => Steps.Sample(steps =>
    {
        var rule = new AlarmRule(AlarmCondition.ChangesBy, "t", 4) { For = TimeSpan.FromSeconds(100) };
        var states = Run(rule, steps);
        var read = new List<(TimeSpan At, double Value)>();
        foreach (var (at, value, isRaised, _) in states)
        {
            if (value is not { } number || double.IsNaN(number)) continue;
            read.Add((at, number));
            if (RangeSince(at - rule.For) > 4) Assert.True(isRaised);
            else if (RangeSince(at - (rule.For * 17 / 16) - TimeSpan.FromMilliseconds(1)) <= 4 && at - read[0].At >= rule.For) Assert.False(isRaised);
        }

        double RangeSince(TimeSpan start)
        {
            var within = read.Where(entry => entry.At >= start).Select(entry => entry.Value).ToList();
            return within.Max() - within.Min();
        }
    });

    [Fact]
    public void For_any_readings_a_silence_alarm_is_raised_exactly_when_the_silence_is_long_enough() => Steps.Sample(steps =>
    {
        var (seen, expected) = (TimeSpan.Zero, false);
        foreach (var (at, value, isRaised, _) in Run(new(AlarmCondition.SilentForSeconds, null, 60), steps))
        {
            if (value is { } number && !double.IsNaN(number)) (seen, expected) = (at, false);
            else expected |= at - seen >= TimeSpan.FromSeconds(60);
            Assert.Equal(expected, isRaised);
        }
    });
}
