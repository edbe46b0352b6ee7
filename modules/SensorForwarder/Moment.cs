namespace SensorForwarder;

/// <summary>
/// A moment since the start, by a clock that never steps. The wall clock may have been wrong then and be set since, by
/// decades on a device without a battery for it: the time of a moment is that of the clock as it is now, and so fits to
/// it.
/// </summary>
internal readonly record struct Moment(long Timestamp)
{
    public static Moment Now(TimeProvider timeProvider) => new(timeProvider.GetTimestamp());

    /// <summary>How long ago it was.</summary>
    public TimeSpan Age(TimeProvider timeProvider) => timeProvider.GetElapsedTime(Timestamp);

    /// <summary>When it was, to the millisecond: both clocks are read one after the other.</summary>
    public DateTimeOffset Time(TimeProvider timeProvider)
    {
        var time = timeProvider.GetUtcNow() - Age(timeProvider);
        return DateTimeOffset.FromUnixTimeMilliseconds(
            (long)Math.Round((time - DateTimeOffset.UnixEpoch).TotalMilliseconds));
    }
}
