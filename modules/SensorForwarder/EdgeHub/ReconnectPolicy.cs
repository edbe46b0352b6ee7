using System.Diagnostics;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// How long to wait before the next attempt to connect, and how long an attempt may take. Remembers failures in a
/// row and since when there is no connection, and recognises a second client with the same identity: edgeHub closes the
/// older connection when the newer one comes, so two of them end each other for ever. Pure arithmetic; not thread-safe:
/// used by the connection's loop alone.
/// </summary>
internal sealed class ReconnectPolicy(TimeProvider timeProvider, Random random)
{
    /// <summary>Connections in a row that the other side closes before <see cref="RivalLife"/>
    /// is over: a rival.</summary>
    public const int ShortLivesOfARival = 3;

    /// <summary>A rival comes back within its own back-off, at most; a connection that lives longer has none.</summary>
    public static readonly TimeSpan RivalLife = TimeSpan.FromMinutes(2);

    // A connection that lives shorter than this does not reset the back-off.
    static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(10);

    /// <summary>Some round trips for TCP and TLS, on a line by satellite too.</summary>
    public static readonly TimeSpan OpenTimeoutMax = TimeSpan.FromSeconds(30);

    // An attempt that begins in an outage repeats its lost SYN after 1, 3, 7 and 15 s: after some seconds a
    // new one is faster.
    static readonly TimeSpan OpenTimeoutMin = TimeSpan.FromSeconds(10);
    const double OpenShare = 0.5;

    // Attempts in a row that reached nobody. What follows them may be refused: those waits do not
    // become longer by them.
    int _failures;

    // In a row too: refusals, and connections that ended soon.
    int _refusals;
    int _shortLives;
    long _downSince = timeProvider.GetTimestamp();

    /// <summary>How many connections in a row were ended soon by the other side, while nothing else is known to be
    /// wrong.</summary>
    public int ShortLives => _shortLives;

    public bool RivalSuspected => _shortLives >= ShortLivesOfARival;

    /// <summary>How long TCP and TLS may take in the next attempt: a part of the outage so far, so that a slow line is
    /// given more time with each attempt.</summary>
    public TimeSpan OpenTimeout =>
        TimeSpan.FromTicks(Math.Clamp((Outage * OpenShare).Ticks, OpenTimeoutMin.Ticks, OpenTimeoutMax.Ticks));

    // Since the last connection that lived for a while, or the start.
    TimeSpan Outage => timeProvider.GetElapsedTime(_downSince);

    /// <summary>A connection could not be opened.</summary>
    public TimeSpan AfterFailure(DialFailure failure)
    {
        _shortLives = 0;
        return failure switch
        {
            DialFailure.Unreachable or DialFailure.NotReady or DialFailure.Credentials => InOutage(),

            // Nothing changes by itself here: somebody registers the module, renews a certificate or sets the clock.
            DialFailure.Refused or DialFailure.Untrusted or DialFailure.Clock or DialFailure.Unsupported =>
                Refused(++_refusals, 120),
            _ => throw new UnreachableException(),
        };
    }

    /// <summary>A connection ended.</summary>
    /// <param name="life">How long it lived.</param>
    /// <param name="byPeer">The other side ended it, as far as one can tell.</param>
    public TimeSpan AfterEnd(TimeSpan life, bool byPeer)
    {
        _shortLives = byPeer && life < RivalLife ? _shortLives + 1 : 0;
        _refusals = life < ShortLife || RivalSuspected ? _refusals + 1 : 1;
        if (life >= ShortLife) (_downSince, _failures) = (timeProvider.GetTimestamp(), 0);

        // Against a rival only leaving the field helps. A line that drops every minute looks the same, though, and must
        // not keep the module away for long.
        return RivalSuspected ? Refused(_refusals, 60) : InOutage();
    }

    TimeSpan InOutage() => Backoff.InOutage(
        ++_failures, Outage, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(60), random.NextDouble());

    TimeSpan Refused(int attempt, double maxSeconds) => Backoff.Next(
        attempt, TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(maxSeconds), random.NextDouble());
}
