using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Operations;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;
using SensorForwarder.Text;

namespace SensorForwarder.Tests.Operations;

/// <summary>How the log collapses repeated lines.</summary>
public sealed partial class RepeatedLinesTests : IDisposable
{
    readonly FakeTimeProvider _clock = new(BufferFixture.Noon);
    readonly LogLines _log = new();
    readonly RepeatedLines _lines;
    readonly ILogger _link;

    public RepeatedLinesTests()
    {
        _lines = new(_log.Factory(), _clock);
        _link = _lines.CreateLogger("link");
    }

    public void Dispose() => _lines.Dispose();

    // Without severity, time, category and event.
    List<string> Lines => [.. _log.All.Select(line => line[(line.IndexOf("] ", StringComparison.Ordinal) + 2)..])];

    [LoggerMessage(1, LogLevel.Warning, "No answer from {Host}: {Reason}; batch {Batch} again in {Seconds} s.")]
    static partial void Failed(ILogger logger, string host, string reason, string batch, double seconds);

    [LoggerMessage(2, LogLevel.Information, "{Host} answers.")]
    static partial void Answers(ILogger logger, string host);

    [LoggerMessage(3, LogLevel.Error, "Reading {Id} is refused: {Answer}.")]
    static partial void Refused(ILogger logger, int id, string answer);

    [LoggerMessage(4, LogLevel.Debug, "Looked.")]
    static partial void Looked(ILogger logger);

    [LoggerMessage(5, LogLevel.Warning, "Sensor {Name} fails: {Reason}.")]
    static partial void SensorFails(ILogger logger, string name, string reason);

    [LoggerMessage(6, LogLevel.Information, "Sensor {Name} works again.")]
    static partial void SensorWorks(ILogger logger, string name);

    [LoggerMessage(7, LogLevel.Error, "The status could not be reported.")]
    static partial void NotReported(ILogger logger, Exception exception);

    void FailTimes(int count, TimeSpan every, string reason = "refused")
    {
        for (var i = 0; i < count; i++)
        {
            Failed(_link, "hub", reason, $"e:{i}", i);
            _clock.Advance(every);
        }
    }

    [Fact]
    public void Setting_the_clock_does_not_change_the_age_of_a_repeated_line()
    {
        var clock = new SteppedClock(new(1970, 1, 1, 0, 1, 0, TimeSpan.Zero));
        using var lines = new RepeatedLines(_log.Factory(), clock);
        var link = lines.CreateLogger("link");
        Failed(link, "hub", "refused", "e:1", 1);
        clock.Advance(TimeSpan.FromMinutes(1));
        Failed(link, "hub", "refused", "e:1", 1);
        clock.Step(TimeSpan.FromDays(20_000));
        Answers(link, "hub");
        Assert.StartsWith($"Again once since {LogText.Show(clock.GetUtcNow() - TimeSpan.FromMinutes(1))}: No answer", Lines[1], StringComparison.Ordinal);
    }

    [Fact]
    public void A_repeated_warning_is_logged_once_and_counted_when_its_state_ends()
    {
        FailTimes(31, TimeSpan.FromSeconds(2));
        Assert.Equal(["No answer from hub: refused; batch e:0 again in 0 s."], Lines);
        Answers(_link, "hub");
        Assert.Equal(
            ["Again 30 times since 2026-11-24 12:00:00Z: No answer from hub: refused; batch e:30 again in 30 s.", "hub answers."], Lines.Skip(1));

        // The next outage is logged at once; nothing of the previous one remains.
        Failed(_link, "hub", "refused", "e:99", 1);
        Assert.Equal(4, Lines.Count);
        Answers(_link, "hub");
        Assert.Equal(5, Lines.Count);
    }

    [Fact]
    public void The_first_count_names_a_single_time()
    {
        // As with a real clock, no two reads return the same time.
        _clock.AutoAdvanceAmount = TimeSpan.FromTicks(1);
        FailTimes(4, TimeSpan.FromSeconds(2));
        Answers(_link, "hub");
        Assert.StartsWith("Again 3 times since 2026-11-24 12:00:00Z: No answer", Lines[1], StringComparison.Ordinal);
    }

    [Fact]
    public void While_a_line_repeats_its_count_is_logged_every_period_with_the_time_of_the_first()
    {
        FailTimes(700, TimeSpan.FromSeconds(1));
        Assert.Equal(3, Lines.Count);
        Assert.StartsWith("Again 299 times since 2026-11-24 12:00:00Z: No answer from hub", Lines[1], StringComparison.Ordinal);
        Assert.StartsWith("Again 300 times since 2026-11-24 12:05:00Z, first at 2026-11-24 12:00:00Z: ", Lines[2], StringComparison.Ordinal);

        // The state ended without a line: the last repeats are counted, and after a quiet period the line is logged as new.
        for (var i = 0; i < 11; i++) _clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(4, Lines.Count);
        Assert.StartsWith("Again 100 times since", Lines[3], StringComparison.Ordinal);
        FailTimes(1, TimeSpan.Zero);
        Assert.StartsWith("No answer from hub", Lines[4], StringComparison.Ordinal);
    }

    [Fact]
    public void Lines_with_another_reason_event_or_category_are_counted_separately()
    {
        var other = _lines.CreateLogger("other");
        for (var i = 0; i < 10; i++)
        {
            FailTimes(1, TimeSpan.FromSeconds(1));
            FailTimes(1, TimeSpan.FromSeconds(1), "timed out");
            Refused(_link, i, "no");
            Failed(other, "hub", "refused", "", 1);
        }

        Assert.Equal(4, Lines.Count);
        Answers(other, "hub");
        Assert.Equal(6, Lines.Count); // only lines of the same category
        Answers(_link, "hub");
        Assert.Equal(10, Lines.Count);
        Assert.Equal(4, Lines.Count(line => line.StartsWith("Again 9 times since 2026-11-24 12:00:0", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_state_that_flaps_is_logged_a_few_times_and_then_only_counted()
    {
        for (var i = 0; i < 200; i++)
        {
            FailTimes(1, TimeSpan.FromMilliseconds(500));
            Answers(_link, "hub");
            _clock.Advance(TimeSpan.FromMilliseconds(500));
        }

        Assert.Equal(2 * RepeatedLines.LinesInPeriod, Lines.Count);
        _clock.Advance(RepeatedLines.Period);
        Assert.Equal(
            ["Again 195 times since 2026-11-24 12:00:04Z: No answer from hub: refused; batch e:0 again in 0 s.", "Again 195 times since 2026-11-24 12:00:04Z: hub answers."],
            Lines.Skip(2 * RepeatedLines.LinesInPeriod).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void A_receiver_with_a_new_answer_each_time_fills_neither_log_nor_memory()
    {
        for (var i = 0; i < 100_000; i++) Refused(_link, i, $"no reading {i}");
        Assert.Equal(RepeatedLines.KindsOfEvent + 1, Lines.Count);
        _lines.Dispose();
        Assert.Equal(RepeatedLines.KindsOfEvent + 2, Lines.Count);
        Assert.Equal($"Again {100_000 - RepeatedLines.KindsOfEvent - 1} times since 2026-11-24 12:00:00Z: Reading 99999 is refused: no reading 99999.", Lines[^1]);
    }

    [Fact]
    public void Each_of_many_failing_sensors_is_logged_by_name_and_flapping_does_not_fill_the_log()
    {
        const int Sensors = 500;
        for (var turn = 0; turn < 10; turn++)
        {
            for (var i = 0; i < Sensors; i++) SensorFails(_link, $"s{i}", "timeout");
            for (var i = 0; i < Sensors; i++) SensorWorks(_link, $"s{i}");
        }

        var lines = Lines;
        for (var i = 0; i < Sensors; i++)
        {
            Assert.Contains($"Sensor s{i} fails: timeout.", lines);
            Assert.Contains($"Sensor s{i} works again.", lines);
        }

        // The first sensors were logged a few more times, before there were many.
        Assert.InRange(lines.Count, 2 * Sensors, 2 * (Sensors + (RepeatedLines.KindsOfEvent * RepeatedLines.LinesInPeriod)));
        _clock.Advance(RepeatedLines.Period);
        Assert.Contains(Lines, line => line.StartsWith("Again 9 times since", StringComparison.Ordinal) && line.EndsWith("Sensor s499 fails: timeout.", StringComparison.Ordinal));
    }

    [Fact]
    public void One_sensor_with_a_new_reason_each_time_does_not_hide_another()
    {
        for (var i = 0; i < 1000; i++) SensorFails(_link, "mad", $"reason {i}");
        SensorFails(_link, "other", "timeout");
        Assert.Equal(RepeatedLines.KindsOfEvent + 2, Lines.Count);
        Assert.Equal("Sensor other fails: timeout.", Lines[^1]);
    }

    [Fact]
    public void Lines_with_another_exception_are_counted_separately_and_the_count_names_the_exception()
    {
        for (var i = 0; i < 3; i++)
        {
            NotReported(_link, new IOException("the pipe is broken"));
            NotReported(_link, new IOException("the disk is full"));
            NotReported(_link, new TimeoutException("the disk is full"));
        }

        Assert.Equal(3, Lines.Count);
        Answers(_link, "hub");
        foreach (var exception in (string[])["IOException: the pipe is broken", "IOException: the disk is full", "TimeoutException: the disk is full"])
            Assert.Contains(Lines, line => line.StartsWith("Again 2 times", StringComparison.Ordinal) && line.EndsWith($": The status could not be reported. {exception}", StringComparison.Ordinal));
    }

    [Fact]
    public void Debug_lines_are_all_logged()
    {
        for (var i = 0; i < 100; i++) Looked(_link);
        Assert.Equal(100, Lines.Count);
    }
}
