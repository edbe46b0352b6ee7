namespace SensorForwarder.Forwarding;

/// <summary>
/// A place that batches go to. It sends once and says how it ended; when to try again is decided by
/// <see cref="Forwarder"/> alone. Never throws for what the network does, or a receiver says.
/// </summary>
internal interface ISink
{
    /// <summary>Where it sends to, for people.</summary>
    string Describe(ForwardingSettings settings);

    /// <summary>Whether a send has a chance now; when not, <see cref="WaitUntilReadyAsync"/>
    /// tells when it has.</summary>
    bool IsReady(ForwardingSettings settings);

    /// <summary>Whether what it is given goes no further now, and is better kept here.</summary>
    bool IsHeld { get; }

    Task WaitUntilReadyAsync(CancellationToken cancellationToken);

    /// <summary>Batches that may be under way at once, given the setting.</summary>
    int MaxInFlight(ForwardingSettings settings);

    /// <summary>Whether the receiver bills messages by size: then <see cref="ForwardingSettings.DailyMessageLimit"/>
    /// counts.
    /// </summary>
    bool IsMetered { get; }

    /// <summary>The largest body that it can take, given the setting.</summary>
    int MaxBytes(ForwardingSettings settings);

    Task<SendResult> SendAsync(Batch batch, ForwardingSettings settings, CancellationToken cancellationToken);
}

/// <summary>How a send ended.</summary>
internal enum SendOutcome
{
    /// <summary>The receiver has it: its rows can be deleted.</summary>
    Accepted,

    /// <summary>Not now: later again, and the same batch if it may have arrived.</summary>
    Retry,

    /// <summary>The receiver takes smaller ones only.</summary>
    TooLarge,

    /// <summary>The receiver will never take this content: find the reading that it is about.</summary>
    Rejected,

    /// <summary>The receiver does not take anything from us: nothing is dropped, a person has to act.</summary>
    Denied,
}

/// <summary>How a send ended, why in plain words, and when to try again if the receiver said so.</summary>
internal readonly record struct SendResult(SendOutcome Outcome, string Reason = "", TimeSpan? RetryAfter = null)
{
    public static SendResult Accepted => new(SendOutcome.Accepted);

    /// <summary>For <see cref="SendOutcome.Retry"/>: it is certain that nothing reached the receiver.</summary>
    public bool NotSent { get; init; }

    /// <summary>The receiver is reached, whatever it says: what fails is not the connection.</summary>
    public bool IsReached { get; init; } = Outcome != SendOutcome.Retry;

    /// <summary>The receiver had the whole batch, and did not answer in time.</summary>
    public bool IsLate { get; init; }

    /// <summary>The answer seems to be that of a captive portal.</summary>
    public bool IsFromElsewhere { get; init; }

    /// <summary>For <see cref="SendOutcome.Denied"/>: the answer was 409, to a batch that the receiver can't have had.
    /// </summary>
    public bool IsConflict { get; init; }

    /// <summary>What the receiver said about single readings; null when it spoke of the batch as a whole.</summary>
    public PartialAnswer? Partial { get; init; }
}

/// <summary>What a receiver said about single readings of a batch.</summary>
/// <param name="Accepted">The ids that it has; null: all that it did not reject, if the outcome is accepted, and else
/// none.
/// </param>
/// <param name="Rejected">The ids that it will never take, and why.</param>
internal sealed record PartialAnswer(IReadOnlySet<long>? Accepted, IReadOnlyDictionary<long, string> Rejected);
