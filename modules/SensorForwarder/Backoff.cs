namespace SensorForwarder;

/// <summary>
/// Exponential back-off with full jitter: the delay is drawn evenly between a floor and a bound that doubles with each
/// attempt, so that many devices that lost the same network do not come back in the same second.
/// (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)
/// </summary>
internal static class Backoff
{
    /// <summary>The shortest delay, so that a draw near zero is not a busy loop.</summary>
    public static readonly TimeSpan Floor = TimeSpan.FromMilliseconds(100);

    /// <summary>The largest part of an outage that a device waits once it is over: long enough to keep a fleet apart,
    /// which spreads over it, and short enough to be no outage itself.</summary>
    public const double OutageShare = 0.25;

    // So that a short outage is no reason to hurry either.
    static readonly TimeSpan OutageBoundMin = TimeSpan.FromSeconds(1);

    /// <summary>How long to wait before the next attempt.</summary>
    /// <param name="attempt">Failures in a row so far, from 1.</param>
    /// <param name="baseDelay">Bound of the first delay.</param>
    /// <param name="maxDelay">Bound that is never exceeded.</param>
    /// <param name="random">0 (inclusive) to 1 (exclusive).</param>
    public static TimeSpan Next(int attempt, TimeSpan baseDelay, TimeSpan maxDelay, double random)
    {
        // 2^30 base delays are beyond any cap; a larger exponent would only overflow.
        var bound = baseDelay.TotalSeconds * Math.Pow(2, Math.Clamp(attempt - 1, 0, 30));
        bound = Math.Min(bound, maxDelay.TotalSeconds);
        var floor = Math.Min(Floor.TotalSeconds, bound);
        return TimeSpan.FromSeconds(floor + ((bound - floor) * random));
    }

    /// <summary>How long to wait before the next attempt while nobody is reached: no longer than after as many failures
    /// of another kind, and no longer than <see cref="OutageShare"/> of the outage so far, or 1 s. Whenever the outage
    /// ends, the next attempt comes within that share of it.</summary>
    /// <param name="attempt">Failures in a row so far, from 1.</param>
    /// <param name="outage">How long nobody has been reached.</param>
    /// <param name="baseDelay">Bound of the first delay.</param>
    /// <param name="maxDelay">Bound that is never exceeded.</param>
    /// <param name="random">0 (inclusive) to 1 (exclusive).</param>
    public static TimeSpan InOutage(int attempt, TimeSpan outage, TimeSpan baseDelay, TimeSpan maxDelay, double random)
    {
        var share = outage * OutageShare;
        if (share < OutageBoundMin) share = OutageBoundMin;
        return Next(attempt, baseDelay, share < maxDelay ? share : maxDelay, random);
    }
}
