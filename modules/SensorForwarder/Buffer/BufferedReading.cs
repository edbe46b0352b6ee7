namespace SensorForwarder.Buffer;

/// <summary>A reading as read from the buffer.</summary>
/// <param name="Id">Counts up from 1 within a file; (epoch, id) is unique.</param>
/// <param name="RecordedAt">When it was measured, UTC, corrected if the clock was synchronised later.</param>
/// <param name="Payload">The UTF-8 JSON of <c>data</c>. May share its array with other readings.</param>
internal readonly record struct BufferedReading(long Id, DateTimeOffset RecordedAt, ReadOnlyMemory<byte> Payload)
{
    /// <summary>The epoch of the id.</summary>
    public string Epoch { get; init; } = "";
}

/// <summary>The time of a reading, and its clock segment.</summary>
internal readonly record struct ReadingTime(long Id, DateTimeOffset RecordedAt, int Clock);

/// <summary>The readings of one sensor among the readings examined.</summary>
/// <param name="Looks">The number of readings examined.</param>
/// <param name="Last">The last one examined; null: there were none left.</param>
internal sealed record SensorRows(IReadOnlyList<BufferedReading> Readings, int Looks, ReadingTime? Last);

/// <summary>A reading that a receiver refused permanently.</summary>
/// <param name="Id">Its id in the queue, which it keeps.</param>
/// <param name="RecordedAt">When it was measured, UTC.</param>
/// <param name="Payload">The UTF-8 JSON of <c>data</c>.</param>
/// <param name="Reason">A short word or status code.</param>
/// <param name="Answer">The receiver's answer, cut to 4,096 characters; null when there was none.</param>
internal sealed record DeadLetter(
    long Id, DateTimeOffset RecordedAt, ReadOnlyMemory<byte> Payload, string Reason, string? Answer);
