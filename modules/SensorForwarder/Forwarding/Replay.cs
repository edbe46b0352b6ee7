using System.Text;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>Finds delivered readings that are still in the buffer, for the direct method <c>replay</c>. Stateless.
/// </summary>
internal static class Replay
{
    /// <param name="from">The earliest time at which a reading was recorded.</param>
    /// <param name="sensors">Null: all sensors.</param>
    public static IdSet Find(
        TelemetryBuffer buffer, DateTimeOffset from, DateTimeOffset to, IReadOnlyList<string>? sensors,
        CancellationToken cancellationToken)
    {
        const int RowsAtOnce = 10_000;
        var beginnings = sensors?.Select(ReadingEncoder.BeginningOf).Select(Encoding.UTF8.GetBytes).ToList();
        bool IsWanted(DateTimeOffset time, ReadOnlyMemory<byte> payload) => time >= from && time <= to
            && (beginnings is null || beginnings.Exists(beginning => payload.Span.StartsWith(beginning)));

        using var history = buffer.OpenHistory();
        var ids = IdSet.Empty;
        for (long? after = 0; after is not null;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            (var found, after) = history.FindDelivered(after.Value, RowsAtOnce, IsWanted);
            ids = ids.Union(found);
        }

        return ids;
    }
}
