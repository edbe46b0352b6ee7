namespace SensorForwarder.Forwarding;

/// <summary>
/// A destination of batches. Sends a batch once and reports the result; <see cref="Forwarder"/> alone decides about
/// retries. Called by the forwarder's loop. Does not throw for failures of the network or answers of a receiver.
/// </summary>
internal interface ISink
{
    /// <summary>Where batches are sent, for log lines and the status.</summary>
    string Describe(ForwardingSettings settings);

    /// <summary>Whether a send can succeed now, for example because there is a connection.</summary>
    bool IsReady(ForwardingSettings settings);

    /// <summary>Whether readings are held in the local buffer: edgeHub has no connection to the cloud.</summary>
    bool IsHeld => Handovers?.IsHolding == true;

    /// <summary>Completes when <see cref="IsReady"/> may have become true.</summary>
    Task WaitUntilReadyAsync(CancellationToken cancellationToken);

    /// <summary>Tracks accepted batches until they are delivered; null: an accepted batch is delivered.</summary>
    Handovers? Handovers => null;

    /// <summary>Batches that may be in flight at once.</summary>
    int MaxInFlight(ForwardingSettings settings);

    /// <summary>Whether the receiver bills messages by size, so that
    /// <see cref="ForwardingSettings.DailyMessageLimit"/> applies.</summary>
    bool IsMetered { get; }

    /// <summary>The largest body that may be sent, in bytes.</summary>
    int MaxBytes(ForwardingSettings settings);

    Task<SendResult> SendAsync(Batch batch, ForwardingSettings settings, CancellationToken cancellationToken);
}

/// <summary>How a send ended.</summary>
internal enum SendOutcome
{
    /// <summary>The receiver has the batch.</summary>
    Accepted,

    /// <summary>A temporary failure: retry the batch later, unchanged if it may have arrived.</summary>
    Retry,

    /// <summary>The receiver accepts smaller batches only.</summary>
    TooLarge,

    /// <summary>The receiver will never accept this content: halve the batch until the rejected reading is alone.
    /// </summary>
    Rejected,

    /// <summary>The receiver accepts nothing from this module until a person acts. Nothing is dropped.</summary>
    Denied,
}

/// <summary>How a send ended, the reason as text, and the receiver's Retry-After.</summary>
internal readonly record struct SendResult(SendOutcome Outcome, string Reason = "", TimeSpan? RetryAfter = null)
{
    public static SendResult Accepted => new(SendOutcome.Accepted);

    /// <summary>For <see cref="SendOutcome.Retry"/>: whether certainly nothing reached the receiver.</summary>
    public bool NotSent { get; init; }

    /// <summary>Whether the receiver answered; otherwise the connection failed.</summary>
    public bool IsReached { get; init; } = Outcome != SendOutcome.Retry;

    /// <summary>Whether the whole batch was sent, but no answer arrived in time.</summary>
    public bool IsLate { get; init; }

    /// <summary>Whether the answer is probably from a captive portal, not from the receiver.</summary>
    public bool IsFromElsewhere { get; init; }

    /// <summary>For <see cref="SendOutcome.Denied"/>: whether the answer was a 409 that does not mean "already stored".
    /// </summary>
    public bool IsConflict { get; init; }

    /// <summary>The receiver's answer about single readings; null when it is about the whole batch.</summary>
    public PartialAnswer? Partial { get; init; }
}

/// <summary>A receiver's answer about single readings of a batch.</summary>
/// <param name="Accepted">The ids that it accepted; null: all but the rejected ones if the outcome is accepted,
/// otherwise none.</param>
/// <param name="Rejected">The ids that it will never accept, with the reasons.</param>
internal sealed record PartialAnswer(IReadOnlySet<long>? Accepted, IReadOnlyDictionary<long, string> Rejected);
