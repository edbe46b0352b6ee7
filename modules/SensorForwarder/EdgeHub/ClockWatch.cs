namespace SensorForwarder.EdgeHub;

/// <summary>
/// Notices steps of the wall clock during a wait, by comparing it with the monotonic clock. A device without an RTC
/// starts in the past, and all tokens and certificates are invalid until the time is set.
/// </summary>
internal static class ClockWatch
{
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(2);

    // More than slewing and leap seconds, and little compared with the hour that a token is valid.
    static readonly TimeSpan Step = TimeSpan.FromSeconds(30);

    /// <summary>Waits for a time, or until the clock steps.</summary>
    /// <returns>The step; zero: none.</returns>
    public static async Task<TimeSpan> DelayAsync(
        TimeSpan delay, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        var (wall, start) = (timeProvider.GetUtcNow(), timeProvider.GetTimestamp());
        while (true)
        {
            var elapsed = timeProvider.GetElapsedTime(start);
            var step = timeProvider.GetUtcNow() - wall - elapsed;
            if (step.Duration() >= Step) return step;
            var left = delay - elapsed;
            if (left <= TimeSpan.Zero) return TimeSpan.Zero;
            await Task.Delay(left < LookEvery ? left : LookEvery, timeProvider, cancellationToken);
        }
    }
}
