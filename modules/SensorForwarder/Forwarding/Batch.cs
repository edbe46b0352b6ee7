using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Consecutive readings, encoded once. Its boundaries and its id stay the same until it is accepted or split.
/// </summary>
/// <param name="Epoch">The epoch of the buffer that the readings come from.</param>
/// <param name="Readings">At least one, in id order.</param>
/// <param name="Body">The body to send, the same for both sinks.</param>
internal sealed record Batch(string Epoch, IReadOnlyList<BufferedReading> Readings, ReadOnlyMemory<byte> Body)
{
    public long FirstId => Readings[0].Id;

    public long LastId => Readings[^1].Id;

    /// <summary>Names this batch to receivers: <c>Idempotency-Key</c> and <c>$.mid</c>.</summary>
    public string Id => $"{Epoch}:{FirstId}-{LastId}";

    /// <summary>When its newest reading was stored; the same at every attempt.</summary>
    public DateTimeOffset CreatedAt => Readings[^1].RecordedAt;

    /// <summary>The ids as ranges without holes. An id in a hole belongs to a reading that was not sent (one that came
    /// back from the dead letters meanwhile, say) and must not be acknowledged with the others.</summary>
    public IEnumerable<(long First, long Last)> Ranges()
    {
        var first = FirstId;
        for (var i = 1; i <= Readings.Count; i++)
        {
            if (i < Readings.Count && Readings[i].Id == Readings[i - 1].Id + 1) continue;
            yield return (first, Readings[i - 1].Id);
            if (i < Readings.Count) first = Readings[i].Id;
        }
    }
}
