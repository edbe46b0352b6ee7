namespace SensorForwarder.Time;

/// <summary>
/// A point in monotonic time. Converted to wall-clock time on demand, so that a clock that is corrected later (a Pi has
/// no RTC) corrects old timestamps too.
/// </summary>
internal readonly record struct Moment(long Timestamp)
{
    public static Moment Now(TimeProvider timeProvider) => new(timeProvider.GetTimestamp());

    public TimeSpan Age(TimeProvider timeProvider) => timeProvider.GetElapsedTime(Timestamp);

    /// <summary>The wall-clock time, rounded to milliseconds because the two clocks are read one after the other.
    /// </summary>
    public DateTimeOffset Time(TimeProvider timeProvider)
    {
        var time = timeProvider.GetUtcNow() - Age(timeProvider);
        return DateTimeOffset.FromUnixTimeMilliseconds(
            (long)Math.Round((time - DateTimeOffset.UnixEpoch).TotalMilliseconds));
    }
}
