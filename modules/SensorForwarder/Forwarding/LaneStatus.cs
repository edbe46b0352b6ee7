using SensorForwarder.Time;

namespace SensorForwarder.Forwarding;

/// <summary>The state of one lane, as far as it is known without reading the database.</summary>
internal sealed record LaneStatus
{
    /// <summary>Readings that wait and are not in flight; may include readings that were evicted meanwhile.</summary>
    public long Waiting { get; init; }

    /// <summary>The oldest waiting reading is the first one above this id.</summary>
    public long WaitingAfter { get; init; }

    /// <summary>Batches in flight.</summary>
    public int InFlightBatches { get; init; }

    /// <summary>Readings in flight.</summary>
    public int InFlightReadings { get; init; }

    /// <summary>When a batch of this lane was last accepted; null before the first.</summary>
    public Moment? LastAccepted { get; init; }
}

/// <summary>A failed attempt.</summary>
/// <param name="Reason">Why it failed, for people.</param>
/// <param name="At">When it failed.</param>
internal sealed record SendFailure(string Reason, Moment At);
