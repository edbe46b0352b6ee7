using SensorForwarder.Time;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Decides when the next attempt may be made, and whether it must be a probe. Each failure doubles the back-off, with
/// full jitter; while the receiver is unreachable, the back-off is at most a share of the outage. After a failure, an
/// outage, a change of the receiver and the start, one small batch is sent as a probe; the others follow when the probe
/// was accepted. Used by the forwarder's loop only.
/// </summary>
internal sealed class Circuit(TimeProvider timeProvider, Random random)
{
    /// <summary>The most readings in a probe.</summary>
    public const int ProbeReadings = 10;

    public static readonly TimeSpan BackoffBase = TimeSpan.FromSeconds(1);
    public static readonly TimeSpan BackoffMax = TimeSpan.FromMinutes(5);
    public static readonly TimeSpan RetryAfterMax = TimeSpan.FromHours(1);

    /// <summary>The longest random delay after an outage. With 30 s, a simulated fleet of 10,000 devices sent 3.5 times
    /// the throughput of IoT Hub after an outage of two hours, and drained its backlog later than with 2 min.</summary>
    public static readonly TimeSpan SpreadMax = TimeSpan.FromMinutes(2);

    long _resumeAt;
    long? _failingSince; // monotonic time of the first failure in a row
    long? _notReadySince;
    long? _heldSince;
    TimeSpan? _absence;
    int _refusals;
    bool _isRetryAfter;

    /// <summary>Whether no batch has been accepted since the failure, outage or start: send one small batch at a time.
    /// </summary>
    public bool IsProbing { get; private set; } = true;

    /// <summary>Failed attempts in a row.</summary>
    public int Failures { get; private set; }

    /// <summary>Time until the next attempt is allowed; zero or less: it is.</summary>
    public TimeSpan UntilNext =>
        _resumeAt == 0 ? TimeSpan.Zero : timeProvider.GetElapsedTime(timeProvider.GetTimestamp(), _resumeAt);

    /// <summary>Batches are sent to another sink from now on.</summary>
    /// <param name="absence">How long nothing has been sent; counts as an outage.</param>
    public void Enter(TimeSpan absence) => _absence = absence;

    /// <summary>Records whether the receiver can be reached now. The end of an outage is noticed here.</summary>
    /// <param name="isReady">Whether the sink is ready to send.</param>
    /// <param name="isHeld">Whether edgeHub has no connection to the cloud.</param>
    public void Observe(bool isReady, bool isHeld)
    {
        if (!isReady)
        {
            _notReadySince ??= timeProvider.GetTimestamp();
            return;
        }

        End(ref _notReadySince);
        if (isHeld) _heldSince ??= timeProvider.GetTimestamp();
        else End(ref _heldSince);
        if (_absence is { } absence) Reopen(absence);
        _absence = null;
    }

    void End(ref long? since)
    {
        if (since is { } began && timeProvider.GetElapsedTime(began) is var took && !(took <= _absence))
            _absence = took;
        since = null;
    }

    /// <summary>An outage is over. Many devices notice this in the same second, so each waits for a random part of a
    /// quarter of the outage, at most <see cref="SpreadMax"/>.</summary>
    void Reopen(TimeSpan outage)
    {
        IsProbing = true;
        StartOver();
        var spread = TimeSpan.FromSeconds(
            Math.Min(SpreadMax.TotalSeconds, Math.Max(0, outage.TotalSeconds) * Backoff.OutageShare));
        Wait(spread * random.NextDouble());
    }

    /// <summary>Ends the back-off on request.</summary>
    public void TryNow() => _resumeAt = 0;

    /// <summary>Ends the back-off after a failure, because new settings may remove the cause. A Retry-After stays in
    /// force unless the receiver changed. The delay after an outage stays in any case, because new settings reach many
    /// devices in the same second.</summary>
    public void SettingsChanged(bool isAnotherReceiver)
    {
        if (Failures > 0 && (isAnotherReceiver || !_isRetryAfter)) _resumeAt = 0;
    }

    /// <summary>An attempt failed. A refusal or a Retry-After is not an outage: the back-off after a refusal depends on
    /// the number of refusals, not on earlier attempts that did not reach the receiver.</summary>
    /// <returns>The time until the next attempt.</returns>
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
        _isRetryAfter = retryAfter > delay;
        if (_isRetryAfter) delay = retryAfter < RetryAfterMax ? retryAfter.Value : RetryAfterMax;
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
