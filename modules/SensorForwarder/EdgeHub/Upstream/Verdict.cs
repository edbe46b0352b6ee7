using SensorForwarder.Readings;

namespace SensorForwarder.EdgeHub.Upstream;

/// <summary>What one read of edgeHub's metrics page proved. <see cref="Custody"/> no longer contains these readings. If
/// a kill saves only the state of custody or only that of the readings, the readings are sent again.</summary>
/// <param name="Delivered">Readings that are in the cloud.</param>
/// <param name="Returned">Readings to send again, with the same ids and <c>$.mid</c>: edgeHub lost them, or its page
/// cannot show whether it did.</param>
/// <param name="Lost">Messages that edgeHub acknowledged and lost.</param>
internal sealed record Verdict(IdSet Delivered, IdSet Returned, long Lost)
{
    public static readonly Verdict Nothing = new(IdSet.Empty, IdSet.Empty, 0);
}
