namespace SensorForwarder.Forwarding;

/// <summary>Spreads the batches of the backfill lane evenly over a minute. Used by the forwarder's loop only.</summary>
internal sealed class BackfillRate(TimeProvider timeProvider)
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    long? _last; // when the last batch was sent

    /// <summary>Time until the next batch may be sent; zero or less: now.</summary>
    /// <param name="perMinute">The limit; 0: none.</param>
    public TimeSpan UntilNext(int perMinute) => perMinute == 0 || _last is not { } last
        ? TimeSpan.Zero
        : (Minute / perMinute) - timeProvider.GetElapsedTime(last);

    /// <summary>Records that a batch is sent.</summary>
    public void Take() => _last = timeProvider.GetTimestamp();
}
