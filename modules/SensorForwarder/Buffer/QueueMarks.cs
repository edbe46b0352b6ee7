namespace SensorForwarder.Buffer;

/// <summary>What the writer must know about the queue without asking the file. Changed inside a transaction, kept when
/// it commits, put back when it does not.</summary>
internal readonly record struct QueueMarks
{
    /// <summary>The highest id ever given; 0 before the first.</summary>
    public long LastId { get; init; }

    /// <summary>The lowest id in the queue; <see cref="LastId"/> + 1 when it is empty.</summary>
    public long FirstId { get; init; }

    public long FirstRecordedAtMs { get; init; }

    public int FirstClock { get; init; }

    /// <summary>Rows in the queue.</summary>
    public long Depth { get; init; }

    public long DeadLetters { get; init; }

    /// <summary>Ids from first to last that are not in the queue. Kept in the file, since counting the rows of a big
    /// backlog at the start would read all of it.</summary>
    public long Holes => LastId - FirstId + 1 - Depth;
}
