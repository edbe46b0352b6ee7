namespace SensorForwarder.Forwarding;

/// <summary>What one lane does, as far as the forwarder knows it without looking into the file.</summary>
internal sealed record LaneStatus
{
    /// <summary>Ids that wait and are not under way; readings that were given up meanwhile are among them.</summary>
    public long Waiting { get; init; }

    /// <summary>The oldest of them is the first reading behind this id.</summary>
    public long WaitingAfter { get; init; }

    /// <summary>Batches under way.</summary>
    public int InFlightBatches { get; init; }

    /// <summary>Readings in those.</summary>
    public int InFlightReadings { get; init; }

    /// <summary>When one of its batches was last accepted; null before the first.</summary>
    public Moment? LastAccepted { get; init; }
}

/// <summary>An attempt that failed.</summary>
/// <param name="Reason">Why, in plain words.</param>
/// <param name="At">When.</param>
internal sealed record SendFailure(string Reason, Moment At);
