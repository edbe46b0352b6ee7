namespace SensorForwarder.Forwarding;

/// <summary>Limits the batches of the backfill lane per minute, evenly spread. Used by the forwarder's loop only.
/// </summary>
internal sealed class BackfillRate(TimeProvider timeProvider)
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    long _last;
    bool _any;

    /// <summary>Time until the next batch may be sent; zero or less: now.</summary>
    /// <param name="perMinute">The limit; 0: none.</param>
    public TimeSpan UntilNext(int perMinute) =>
        perMinute == 0 || !_any ? TimeSpan.Zero : (Minute / perMinute) - timeProvider.GetElapsedTime(_last);

    /// <summary>Records that a batch is sent.</summary>
    public void Take()
    {
        _any = true;
        _last = timeProvider.GetTimestamp();
    }
}
