using System.Diagnostics;
using SensorForwarder.Time;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// The back-off before the next attempt to connect, and the timeout of an attempt. Counts failures in a row and
/// recognises a second client with the same identity: edgeHub closes the older connection when a newer one opens, so
/// that two clients disconnect each other for ever. No I/O; not thread-safe: used by the connection's loop only.
/// </summary>
internal sealed class ReconnectPolicy(TimeProvider timeProvider, Random random)
{
    /// <summary>After this many connections in a row that the other side closed within <see cref="RivalLife"/>, a
    /// second client with this identity (a rival) is suspected.</summary>
    public const int ShortLivesOfARival = 3;

    /// <summary>A rival reconnects within its back-off, so a connection that lasts longer than this has no rival.
    /// </summary>
    public static readonly TimeSpan RivalLife = TimeSpan.FromMinutes(2);

    // A shorter connection does not reset the back-off.
    static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(10);

    /// <summary>Enough for the round trips of TCP and TLS over a satellite line.</summary>
    public static readonly TimeSpan OpenTimeoutMax = TimeSpan.FromSeconds(30);

    // TCP repeats a lost SYN after 1, 3, 7 and 15 s: when an outage ends, a new attempt is faster after some seconds.
    static readonly TimeSpan OpenTimeoutMin = TimeSpan.FromSeconds(10);
    const double OpenShare = 0.5;

    // Attempts in a row that did not reach the hub. They do not lengthen the back-off after a refusal.
    int _failures;

    // In a row: refusals and short connections; connections that the other side closed within RivalLife.
    int _refusals;
    int _shortLives;
    long _downSince = timeProvider.GetTimestamp();

    /// <summary>Connections in a row that the other side closed within <see cref="RivalLife"/>, without a failed
    /// attempt between them.</summary>
    public int ShortLives => _shortLives;

    public bool RivalSuspected => _shortLives >= ShortLivesOfARival;

    /// <summary>The timeout of TCP and of TLS in the next attempt: a share of the outage so far, so that a slow line
    /// gets more time with each attempt.</summary>
    public TimeSpan OpenTimeout =>
        TimeSpan.FromTicks(Math.Clamp((Outage * OpenShare).Ticks, OpenTimeoutMin.Ticks, OpenTimeoutMax.Ticks));

    // Since the last connection of at least ShortLife, or since the start.
    TimeSpan Outage => timeProvider.GetElapsedTime(_downSince);

    /// <summary>The back-off after a connection could not be opened.</summary>
    public TimeSpan AfterFailure(DialFailure failure)
    {
        _shortLives = 0;
        return failure switch
        {
            DialFailure.Unreachable or DialFailure.NotReady or DialFailure.Credentials => InOutage(),

            // These failures last until a person registers the module, renews a certificate or sets the clock.
            DialFailure.Refused or DialFailure.Untrusted or DialFailure.Clock or DialFailure.Unsupported =>
                Refused(++_refusals, 120),
            _ => throw new UnreachableException(),
        };
    }

    /// <summary>The back-off after a connection ended.</summary>
    /// <param name="life">How long the connection lasted.</param>
    /// <param name="byPeer">Whether the other side or the line ended it.</param>
    public TimeSpan AfterEnd(TimeSpan life, bool byPeer)
    {
        _shortLives = byPeer && life < RivalLife ? _shortLives + 1 : 0;
        _refusals = life < ShortLife || RivalSuspected ? _refusals + 1 : 1;
        if (life >= ShortLife) (_downSince, _failures) = (timeProvider.GetTimestamp(), 0);

        // With a rival, only a longer back-off lets one of the two stay connected. A line that drops every minute looks
        // the same, so the back-off has a low bound.
        return RivalSuspected ? Refused(_refusals, 60) : InOutage();
    }

    TimeSpan InOutage() => Backoff.InOutage(
        ++_failures, Outage, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(60), random.NextDouble());

    TimeSpan Refused(int attempt, double maxSeconds) => Backoff.Next(
        attempt, TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(maxSeconds), random.NextDouble());
}
