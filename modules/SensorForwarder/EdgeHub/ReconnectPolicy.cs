using System.Diagnostics;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// How long to wait before the next connection. Remembers failures in a row, and recognises a second client with the
/// same identity: edgeHub closes the older connection when the newer one comes, so two of them end each other for ever.
/// Pure arithmetic; not thread-safe: used by the connection's loop alone.
/// </summary>
internal sealed class ReconnectPolicy(Random random)
{
    /// <summary>Connections in a row that the other side closes before <see cref="RivalLife"/> is over: a rival.</summary>
    public const int ShortLivesOfARival = 3;

    /// <summary>A rival comes back within its own back-off, at most; a connection that lives longer has none.</summary>
    public static readonly TimeSpan RivalLife = TimeSpan.FromMinutes(2);

    // A connection that lives shorter than this does not reset the back-off.
    static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(10);

    int _failures;
    int _shortLives;

    /// <summary>How many connections in a row were ended soon by the other side, while nothing else is known to be
    /// wrong.</summary>
    public int ShortLives => _shortLives;

    public bool RivalSuspected => _shortLives >= ShortLivesOfARival;

    /// <summary>A connection could not be opened.</summary>
    public TimeSpan AfterFailure(DialFailure failure)
    {
        _failures++;
        _shortLives = 0;
        return failure switch
        {
            DialFailure.Unreachable or DialFailure.NotReady or DialFailure.Credentials => Next(1, 60),

            // Nothing changes by itself here: somebody registers the module, renews a certificate or sets the clock.
            DialFailure.Refused or DialFailure.Untrusted or DialFailure.Clock or DialFailure.Unsupported => Next(5, 120),
            _ => throw new UnreachableException(),
        };
    }

    /// <summary>A connection ended.</summary>
    /// <param name="life">How long it lived.</param>
    /// <param name="byPeer">The other side ended it, as far as one can tell.</param>
    public TimeSpan AfterEnd(TimeSpan life, bool byPeer)
    {
        _shortLives = byPeer && life < RivalLife ? _shortLives + 1 : 0;
        _failures = life < ShortLife || RivalSuspected ? _failures + 1 : 1;

        // Against a rival only leaving the field helps. A line that drops every minute looks the same, though, and must not
        // keep the module away for long.
        return RivalSuspected ? Next(5, 60) : Next(1, 60);
    }

    TimeSpan Next(double baseSeconds, double maxSeconds) => Backoff.Next(
        _failures, TimeSpan.FromSeconds(baseSeconds), TimeSpan.FromSeconds(maxSeconds), random.NextDouble());
}
