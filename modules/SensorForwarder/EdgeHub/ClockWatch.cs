namespace SensorForwarder.EdgeHub;

/// <summary>
/// Notices when the wall clock steps: it is compared with the monotonic clock, cheaply, while one waits. A device
/// without a battery-backed clock starts in the past, and every token and certificate is wrong until the time is set.
/// </summary>
internal static class ClockWatch
{
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(2);

    // Slewing and leap seconds stay below; a token's life is an hour.
    static readonly TimeSpan Step = TimeSpan.FromSeconds(30);

    /// <summary>Waits. Ends early when the clock steps, and returns by how much; zero when it did not.</summary>
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
