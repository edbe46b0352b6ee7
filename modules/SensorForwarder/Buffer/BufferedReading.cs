namespace SensorForwarder.Buffer;

/// <summary>One reading as it waits in the buffer.</summary>
/// <param name="Id">Counts up from 1 inside an epoch; never names two readings.</param>
/// <param name="RecordedAt">When it was measured, UTC; already repaired where the clock was
/// set after the reading.</param>
/// <param name="Payload">The UTF-8 JSON of <c>data</c>. Valid as long as it is referenced; shares its array with the
/// other readings of the batch.</param>
internal readonly record struct BufferedReading(long Id, DateTimeOffset RecordedAt, ReadOnlyMemory<byte> Payload);

/// <summary>When a reading was measured, and in which segment of the clock.</summary>
internal readonly record struct ReadingTime(long Id, DateTimeOffset RecordedAt, int Clock);

/// <summary>What a look at some rows found of one sensor.</summary>
/// <param name="Looks">Rows that were looked at.</param>
/// <param name="Last">The last of them; null: there was none any more.</param>
internal sealed record SensorRows(IReadOnlyList<BufferedReading> Readings, int Looks, ReadingTime? Last);

/// <summary>A reading that a receiver refused for good.</summary>
/// <param name="Id">The id that it had, and still has, in the queue's numbering.</param>
/// <param name="RecordedAt">When it was measured, UTC.</param>
/// <param name="Payload">The UTF-8 JSON of <c>data</c>.</param>
/// <param name="Reason">A short word or status code.</param>
/// <param name="Answer">What the receiver answered, cut to 4,096 characters; null when it said nothing.</param>
/// <param name="RefusedAt">When it was refused, by the wall clock.</param>
internal sealed record DeadLetter(
    long Id, DateTimeOffset RecordedAt, ReadOnlyMemory<byte> Payload, string Reason, string? Answer,
    DateTimeOffset RefusedAt);
