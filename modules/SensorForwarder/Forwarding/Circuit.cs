namespace SensorForwarder.Forwarding;

/// <summary>
/// When the next attempt may be made, and how much it may risk. After a failure the time doubles, with full jitter; after a
/// failure, a blackout, a change of the receiver and the start, one small batch goes first, and only when that was
/// accepted the flood. Used by the forwarder's loop only.
/// </summary>
internal sealed class Circuit(TimeProvider timeProvider, Random random)
{
    /// <summary>Readings in a batch that only finds out whether the receiver takes any.</summary>
    public const int ProbeReadings = 10;

    public static readonly TimeSpan BackoffBase = TimeSpan.FromSeconds(1);
    public static readonly TimeSpan BackoffMax = TimeSpan.FromMinutes(5);
    public static readonly TimeSpan RetryAfterMax = TimeSpan.FromHours(1);

    /// <summary>The longest that a device holds back when a blackout is over.</summary>
    public static readonly TimeSpan SpreadMax = TimeSpan.FromSeconds(30);

    // A short outage hits few devices for a short time: a wait in proportion keeps those apart, and is no outage by itself.
    const double SpreadShare = 0.25;

    long _resumeAt;
    bool _isAskedFor;

    /// <summary>Nothing is known to get through: one small batch at a time.</summary>
    public bool IsProbing { get; private set; } = true;

    /// <summary>Failed attempts in a row.</summary>
    public int Failures { get; private set; }

    /// <summary>Time until the next attempt; zero or less when it may be made.</summary>
    public TimeSpan UntilNext =>
        _resumeAt == 0 ? TimeSpan.Zero : timeProvider.GetElapsedTime(timeProvider.GetTimestamp(), _resumeAt);

    /// <summary>A blackout is over. Many devices see that in the same second: they spread evenly over a quarter of the time
    /// that it lasted, at most <see cref="SpreadMax"/>.</summary>
    public void Reopen(TimeSpan outage)
    {
        IsProbing = true;
        Failures = 0;
        var spread = TimeSpan.FromSeconds(Math.Min(SpreadMax.TotalSeconds, Math.Max(0, outage.TotalSeconds) * SpreadShare));
        Wait(spread * random.NextDouble());
    }

    /// <summary>Somebody wants an attempt now.</summary>
    public void TryNow() => _resumeAt = 0;

    /// <summary>What failed may be mended. What the receiver asked for holds until it is another one, and so does the spread
    /// after a blackout: changes reach many devices in the same second.</summary>
    public void MayBeMended(bool isAnotherReceiver)
    {
        if (Failures > 0 && (isAnotherReceiver || !_isAskedFor)) _resumeAt = 0;
    }

    /// <returns>How long to wait.</returns>
    public TimeSpan Failed(TimeSpan? retryAfter)
    {
        IsProbing = true;
        var delay = Backoff.Next(++Failures, BackoffBase, BackoffMax, random.NextDouble());
        _isAskedFor = retryAfter > delay;
        if (_isAskedFor) delay = retryAfter < RetryAfterMax ? retryAfter.Value : RetryAfterMax;
        Wait(delay);
        return delay;
    }

    public void Succeeded()
    {
        IsProbing = false;
        Failures = 0;
    }

    void Wait(TimeSpan delay) =>
        _resumeAt = timeProvider.GetTimestamp() + (long)(delay.TotalSeconds * timeProvider.TimestampFrequency);
}
