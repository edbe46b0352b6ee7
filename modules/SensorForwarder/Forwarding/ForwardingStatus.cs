using SensorForwarder.Time;

namespace SensorForwarder.Forwarding;

/// <summary>The state of forwarding, for page, status and metrics. Counts are since the start.</summary>
internal sealed record ForwardingStatus
{
    /// <summary>Where batches are sent.</summary>
    public string Sink { get; init; } = "";

    /// <summary>Whether a person paused forwarding.</summary>
    public bool Paused { get; init; }

    /// <summary>When the last batch was accepted; null before the first.</summary>
    public Moment? LastSuccess { get; init; }

    /// <summary>Why the last attempt failed; null: it succeeded, split the batch or rejected single readings.</summary>
    public string? LastError { get; init; }

    /// <summary>The outcome of <see cref="LastError"/>; null: the receiver was not reached.</summary>
    public SendOutcome? LastErrorAnswer { get; init; }

    /// <summary>The last failed attempt, even if later ones succeeded; null: none failed.</summary>
    public SendFailure? LastFailure { get; init; }

    public LaneStatus Live { get; init; } = new();

    public LaneStatus Backfill { get; init; } = new();

    public LaneStatus Alarm { get; init; } = new();

    /// <summary>Batches accepted, of all lanes.</summary>
    public long Batches { get; init; }

    public long BackfillBatches { get; init; }

    public long AlarmBatches { get; init; }

    public long Readings { get; init; }

    /// <summary>Readings delivered: accepted by the receiver; with edgeHub's metrics page, confirmed to be in the
    /// cloud.</summary>
    public long Delivered { get; init; }

    /// <summary>Bytes of the batches accepted, before compression.</summary>
    public long Bytes { get; init; }

    /// <summary>0: none.</summary>
    public int DailyMessageLimit { get; init; }

    /// <summary>Messages of this UTC day as IoT Hub bills them, counted by this module; 0 without a limit.</summary>
    public long MessagesToday { get; init; }

    /// <summary>When all lanes that wait for the daily limit may send again; null: none waits.</summary>
    public DateTimeOffset? HeldBackUntil { get; init; }

    /// <summary>Whether the backlog waits for the daily limit, but new readings do not.</summary>
    public bool IsOnlyBacklogHeldBack { get; init; }

    /// <summary>Since when readings are held in the local buffer because edgeHub has no cloud; null: not
    /// held.</summary>
    public Moment? UpstreamHeldSince { get; init; }

    /// <summary>A batch that the receiver keeps answering with an error; null: none.</summary>
    public StuckBatch? Stuck { get; init; }

    /// <summary>Readings that edgeHub has accepted and the cloud may not have yet.</summary>
    public CustodyStatus Custody { get; init; } = new();

    public long Failures { get; init; }
}

/// <summary>A batch that the receiver keeps answering with a temporary error: the batch id, the last answer, and when
/// the first error occurred.</summary>
internal sealed record StuckBatch(string Batch, string Answer, Moment Since, int Attempts);

/// <summary>The state of one lane, as far as it is known without reading the database.</summary>
internal sealed record LaneStatus
{
    /// <summary>Readings that wait and are not in flight; may include readings that were evicted meanwhile.</summary>
    public long Waiting { get; init; }

    /// <summary>The oldest waiting reading is the first one above this id.</summary>
    public long WaitingAfter { get; init; }

    public int InFlightBatches { get; init; }

    public int InFlightReadings { get; init; }

    /// <summary>When a batch of this lane was last accepted; null before the first.</summary>
    public Moment? LastAccepted { get; init; }
}

/// <summary>A failed attempt.</summary>
internal sealed record SendFailure(string Reason, Moment At);

/// <summary>Who has a reading that counts as delivered.</summary>
internal enum CustodyHolder
{
    /// <summary>The receiver that accepted it: over HTTP, and directly at IoT Hub.</summary>
    Receiver,

    /// <summary>edgeHub, without a usable metrics page: nothing shows whether the cloud has the reading.</summary>
    EdgeHub,

    /// <summary>The cloud, according to the counters on edgeHub's metrics page.</summary>
    Cloud,
}

/// <summary>Readings that edgeHub has accepted and that are not known to be in the cloud.</summary>
internal sealed record CustodyStatus
{
    public CustodyHolder Holder { get; init; }

    public long HandedOver { get; init; }

    /// <summary>When the oldest of them was accepted; null: there are none.</summary>
    public Moment? Since { get; init; }

    /// <summary>Messages that edgeHub accepted and lost, since the start.</summary>
    public long LostMessages { get; init; }

    /// <summary>Readings that are sent again because of <see cref="LostMessages"/>, since the start.</summary>
    public long ReturnedReadings { get; init; }

    /// <summary>Messages queued in edgeHub for the cloud, according to its page; null: unknown.</summary>
    public long? QueuedMessages { get; init; }

    /// <summary>Outputs of this module that edgeHub has no route for.</summary>
    public IReadOnlyList<string> Unrouted { get; init; } = [];
}
