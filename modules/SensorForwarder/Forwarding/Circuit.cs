namespace SensorForwarder.Forwarding;

/// <summary>
/// When the next attempt may be made, and how much it may risk. After a failure the time doubles, with full jitter, and
/// while nobody is reached it stays below a share of the outage; after a failure, a blackout, a change of the receiver
/// and the start, one small batch is sent first, and the rest when that was accepted. Used by the forwarder's loop
/// only.
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

    long _resumeAt;
    long? _failingSince; // monotonic time of the first failure in a row
    int _refusals;
    bool _isAskedFor;

    /// <summary>Nothing is known to get through: one small batch at a time.</summary>
    public bool IsProbing { get; private set; } = true;

    /// <summary>Failed attempts in a row.</summary>
    public int Failures { get; private set; }

    /// <summary>Time until the next attempt; zero or less when it may be made.</summary>
    public TimeSpan UntilNext =>
        _resumeAt == 0 ? TimeSpan.Zero : timeProvider.GetElapsedTime(timeProvider.GetTimestamp(), _resumeAt);

    /// <summary>A blackout is over. Many devices see that in the same second: they spread evenly over a quarter of the
    /// time that it lasted, at most <see cref="SpreadMax"/>.</summary>
    public void Reopen(TimeSpan outage)
    {
        IsProbing = true;
        StartOver();
        var spread = TimeSpan.FromSeconds(
            Math.Min(SpreadMax.TotalSeconds, Math.Max(0, outage.TotalSeconds) * Backoff.OutageShare));
        Wait(spread * random.NextDouble());
    }

    /// <summary>Somebody wants an attempt now.</summary>
    public void TryNow() => _resumeAt = 0;

    /// <summary>What failed may be mended. What the receiver asked for holds until it is another one, and so does the
    /// spread after a blackout: changes reach many devices in the same second.</summary>
    public void MayBeMended(bool isAnotherReceiver)
    {
        if (Failures > 0 && (isAnotherReceiver || !_isAskedFor)) _resumeAt = 0;
    }

    /// <summary>An attempt failed. One that was refused, or asked to wait, is no outage: refusals alone make the waits
    /// after refusals longer, however many attempts reached nobody before.</summary>
    /// <returns>How long to wait.</returns>
    public TimeSpan Failed(SendResult failure)
    {
        IsProbing = true;
        Failures++;
        _failingSince ??= timeProvider.GetTimestamp();
        var retryAfter = failure.RetryAfter;
        var delay = failure.Outcome == SendOutcome.Retry && retryAfter is null
            ? Backoff.InOutage(
                Failures, timeProvider.GetElapsedTime(_failingSince.Value), BackoffBase, BackoffMax,
                random.NextDouble())
            : Backoff.Next(++_refusals, BackoffBase, BackoffMax, random.NextDouble());
        _isAskedFor = retryAfter > delay;
        if (_isAskedFor) delay = retryAfter < RetryAfterMax ? retryAfter.Value : RetryAfterMax;
        Wait(delay);
        return delay;
    }

    public void Succeeded()
    {
        IsProbing = false;
        StartOver();
    }

    void StartOver() => (Failures, _refusals, _failingSince) = (0, 0, null);

    void Wait(TimeSpan delay) =>
        _resumeAt = timeProvider.GetTimestamp() + (long)(delay.TotalSeconds * timeProvider.TimestampFrequency);
}
