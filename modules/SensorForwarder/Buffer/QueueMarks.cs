namespace SensorForwarder.Buffer;

/// <summary>What the writer must know about the queue without asking the file. Changed inside a transaction, kept when
/// it commits, put back when it does not.</summary>
internal readonly record struct QueueMarks
{
    /// <summary>The highest id ever given; 0 before the first.</summary>
    public long LastId { get; init; }

    /// <summary>Rows up to this id were delivered. They may still be in the file: taking them out row by row would
    /// write each of their pages once more.</summary>
    public long AcknowledgedThrough { get; init; }

    /// <summary>Delivered rows that are still in the file; about, after a start.</summary>
    public long DeadRows { get; init; }

    /// <summary>The lowest id that waits; <see cref="LastId"/> + 1 when none does.</summary>
    public long FirstId { get; init; }

    public long FirstRecordedAtMs { get; init; }

    public int FirstClock { get; init; }

    /// <summary>Rows that wait.</summary>
    public long Depth { get; init; }

    public long DeadLetters { get; init; }

    /// <summary>Ids from first to last that do not wait. Kept in the file, since counting the rows of a big
    /// backlog at the start would read all of it.</summary>
    public long Holes => LastId - FirstId + 1 - Depth;
}
