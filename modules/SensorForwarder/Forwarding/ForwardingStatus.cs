namespace SensorForwarder.Forwarding;

/// <summary>The state of forwarding, for people. Counts are since the start.</summary>
internal sealed record ForwardingStatus
{
    /// <summary>Where batches go.</summary>
    public string Sink { get; init; } = "";

    /// <summary>Whether a person holds it.</summary>
    public bool Paused { get; init; }

    /// <summary>When the last batch was accepted; null before the first.</summary>
    public Moment? LastSuccess { get; init; }

    /// <summary>Why the last attempt failed; null when it succeeded, or the answer was only about readings.</summary>
    public string? LastError { get; init; }

    /// <summary>How the receiver answered with <see cref="LastError"/>; null when it was not reached.</summary>
    public SendOutcome? LastErrorAnswer { get; init; }

    /// <summary>The last attempt that failed, whatever came after it; null: none did.</summary>
    public SendFailure? LastFailure { get; init; }

    /// <summary>New readings; all of them where there is only one lane.</summary>
    public LaneStatus Live { get; init; } = new();

    /// <summary>What a blackout left behind.</summary>
    public LaneStatus Backfill { get; init; } = new();

    /// <summary>Batches accepted.</summary>
    public long Batches { get; init; }

    /// <summary>Of them, those of the backfill lane.</summary>
    public long BackfillBatches { get; init; }

    /// <summary>Readings accepted.</summary>
    public long Readings { get; init; }

    /// <summary>Bytes of the batches accepted, before compression.</summary>
    public long Bytes { get; init; }

    /// <summary>Messages in a day at most; 0: no limit.</summary>
    public int DailyMessageLimit { get; init; }

    /// <summary>Messages of this day of UTC as IoT Hub bills them, by our count; with a limit only.</summary>
    public long MessagesToday { get; init; }

    /// <summary>Until when something waits for the limit; null: nothing does.</summary>
    public DateTimeOffset? HeldBackUntil { get; init; }

    /// <summary>Whether only the backlog waits for it, and new readings go.</summary>
    public bool IsOnlyBacklogHeldBack { get; init; }

    /// <summary>Since when readings are kept here because edgeHub has no cloud; null: they are not.</summary>
    public Moment? UpstreamHeldSince { get; init; }

    /// <summary>Attempts that failed.</summary>
    public long Failures { get; init; }
}
