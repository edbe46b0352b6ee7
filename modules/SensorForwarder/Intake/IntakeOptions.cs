using System.Net;

namespace SensorForwarder.Intake;

/// <summary>Which readings of other programs are accepted, and from where. Immutable.</summary>
internal sealed record IntakeOptions
{
    /// <summary>Where the HTTP intake listens: an <see cref="IPEndPoint"/> or a
    /// <see cref="System.Net.Sockets.UnixDomainSocketEndPoint"/>; null: nowhere.</summary>
    public EndPoint? Http { get; init; }

    /// <summary>The file of the token that HTTP requests must have; null: no token is needed.</summary>
    public string? TokenFile { get; init; }

    /// <summary>Readings per second that one source may send, averaged over ten seconds; 0: no limit. A reading of more
    /// than 1 KiB counts once per KiB.</summary>
    public int ReadingsPerSecond { get; init; } = 1_000;

    /// <summary>A source that has sent nothing for longer is shown as silent; zero: no source is.</summary>
    public TimeSpan MaxSilence { get; init; }
}
