using SensorForwarder.Time;

namespace SensorForwarder.Forwarding;

/// <summary>Who holds a reading that counts as delivered.</summary>
internal enum CustodyHolder
{
    /// <summary>The receiver that accepted it: over HTTP, and directly at IoT Hub.</summary>
    Receiver,

    /// <summary>edgeHub; it has no usable metrics page, so nothing shows what has reached the cloud.</summary>
    EdgeHub,

    /// <summary>The cloud, according to the counters on edgeHub's metrics page.</summary>
    Cloud,
}

/// <summary>Readings that edgeHub has accepted and that are not known to be in the cloud.</summary>
internal sealed record CustodyStatus
{
    public CustodyHolder Holder { get; init; }

    public long HandedOver { get; init; }

    /// <summary>When the oldest of them was accepted; null when there are none.</summary>
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
