namespace SensorForwarder.Time;

/// <summary>
/// Exponential back-off with full jitter: the delay is a random time between a floor and a bound that doubles with each
/// attempt, so that many devices that lost the same network do not reconnect in the same second
/// (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). Stateless.
/// </summary>
internal static class Backoff
{
    /// <summary>The shortest delay, so that a random number near zero does not cause a busy loop.</summary>
    public static readonly TimeSpan Floor = TimeSpan.FromMilliseconds(100);

    /// <summary>The longest delay after an outage, as a share of the outage: long enough to spread a fleet, and short
    /// compared with the outage.</summary>
    public const double OutageShare = 0.25;

    // The bound after a short outage.
    static readonly TimeSpan OutageBoundMin = TimeSpan.FromSeconds(1);

    /// <summary>The delay before the next attempt.</summary>
    /// <param name="attempt">Failures in a row so far, from 1.</param>
    /// <param name="baseDelay">Bound of the first delay.</param>
    /// <param name="maxDelay">Bound that is never exceeded.</param>
    /// <param name="random">0 (inclusive) to 1 (exclusive).</param>
    public static TimeSpan Next(int attempt, TimeSpan baseDelay, TimeSpan maxDelay, double random)
    {
        // 2^30 base delays exceed any bound; a larger exponent could overflow.
        var bound = baseDelay.TotalSeconds * Math.Pow(2, Math.Clamp(attempt - 1, 0, 30));
        bound = Math.Min(bound, maxDelay.TotalSeconds);
        var floor = Math.Min(Floor.TotalSeconds, bound);
        return TimeSpan.FromSeconds(floor + ((bound - floor) * random));
    }

    /// <summary>The delay before the next attempt during an outage: as <see cref="Next"/>, but at most
    /// <see cref="OutageShare"/> of the outage so far, or 1 s if that is longer. The end of an outage is therefore
    /// noticed within that share of its length.</summary>
    /// <param name="attempt">Failures in a row so far, from 1.</param>
    /// <param name="outage">How long the other side has been unreachable.</param>
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
