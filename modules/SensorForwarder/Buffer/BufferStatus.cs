using System.Diagnostics;
using System.Globalization;

namespace SensorForwarder.Buffer;

/// <summary>How the storage under the buffer does.</summary>
internal enum StorageState
{
    /// <summary>Readings are committed.</summary>
    Ok,

    /// <summary>The volume has no room; readings wait in memory.</summary>
    Full,

    /// <summary>The volume or the file can't be written; readings wait in memory.</summary>
    ReadOnly,

    /// <summary>Another process holds the write lock; readings wait in memory.</summary>
    Busy,

    /// <summary>The volume answers with I/O errors; readings wait in memory.</summary>
    Failing,

    /// <summary>The bound is reached, and <see cref="WhenFull.RejectNew"/>: new readings are refused.</summary>
    Refusing,

    /// <summary>The buffer was closed.</summary>
    Closed,
}

/// <summary>What was evicted for one reason since the file was made.</summary>
/// <param name="Reason"><c>thinned</c>, <c>dropped</c>, <c>expired</c>, <c>rejected</c>, <c>overflow</c>,
/// <c>damaged</c>, <c>undeliverable</c>.</param>
/// <param name="Count">Readings.</param>
/// <param name="BySensor">Readings by sensor name.</param>
internal sealed record EvictionTotal(string Reason, long Count, IReadOnlyDictionary<string, long> BySensor);

/// <summary>What opening a damaged file brought back.</summary>
/// <param name="At">When, by the wall clock.</param>
/// <param name="Reason">What was wrong with the file.</param>
/// <param name="Readings">Readings that were taken over, dead letters included.</param>
/// <param name="Missing">Ids between the first and the last reading that could not be read.</param>
/// <param name="KeptAs">The path of the damaged file.</param>
internal sealed record SalvageReport(DateTimeOffset At, string Reason, long Readings, long Missing, string KeptAs)
{
    public const string MetaName = "salvage";

    /// <summary>False while readings of a big file are still being taken over, beside the work.</summary>
    public bool IsComplete { get; init; } = true;

    /// <summary>As it is kept in the file.</summary>
    public string Text => string.Join('\n', At.ToUnixTimeMilliseconds(), Reason, Readings, Missing, KeptAs);

    public static SalvageReport? Parse(string? text) =>
        text?.Split('\n') is { Length: 5 } parts && long.TryParse(parts[0], CultureInfo.InvariantCulture, out var at)
            && long.TryParse(parts[2], CultureInfo.InvariantCulture, out var readings)
            && long.TryParse(parts[3], CultureInfo.InvariantCulture, out var missing)
            ? new SalvageReport(TimeRepair.Moment(at), parts[1], readings, missing, parts[4])
            : null;
}

/// <summary>A consistent look at the buffer; taken at the last commit, ages at the moment of asking.</summary>
internal sealed record BufferStatus
{
    /// <summary>Rows waiting in the file.</summary>
    public required long Depth { get; init; }

    /// <summary>Readings handed over and not yet on the medium.</summary>
    public required int InMemory { get; init; }

    /// <summary>The time of the oldest waiting reading, as it was recorded; null when none waits.</summary>
    public required DateTimeOffset? OldestRecordedAt { get; init; }

    /// <summary>How old that reading is at least, by a clock that never steps; null when none waits.</summary>
    public required TimeSpan? OldestAge { get; init; }

    /// <summary>Bytes of all files on the volume, WAL and reserve included.</summary>
    public required long FileBytes { get; init; }

    /// <summary>What all files may take: <c>bufferMaxMegabytes</c>, or what they take and the volume has
    /// free, if that is less.</summary>
    public required long MaxBytes { get; init; }

    /// <summary>Bytes of the write-ahead log alone.</summary>
    public required long WalBytes { get; init; }

    public required StorageState Storage { get; init; }

    /// <summary>One line on why <see cref="Storage"/> is not Ok, or what is given up; null when all is well.</summary>
    public required string? StorageReason { get; init; }

    /// <summary>What gives way since the bound was reached, until there is clearly more
    /// room again; null: nothing.</summary>
    public required WhenFull? GivesUp { get; init; }

    /// <summary>Whether a time service disciplines the wall clock.</summary>
    public required bool ClockSynchronized { get; init; }

    /// <summary>Evicted readings by reason and sensor.</summary>
    public required IReadOnlyList<EvictionTotal> Evicted { get; init; }

    /// <summary>Rows in <c>dead_letter</c>.</summary>
    public required long DeadLetters { get; init; }

    /// <summary>Readings that became dead letters since the buffer was opened, whatever became of them.</summary>
    public required long DeadLettered { get; init; }

    /// <summary>What was salvaged when this file was made from a damaged one; null when it was not.</summary>
    public required SalvageReport? Salvage { get; init; }

    /// <summary>Transactions since the buffer was opened.</summary>
    public required long Commits { get; init; }

    /// <summary>Readings committed since the buffer was opened.</summary>
    public required long CommittedReadings { get; init; }

    /// <summary>Payload bytes committed since the buffer was opened.</summary>
    public required long CommittedBytes { get; init; }

    /// <summary>Failed attempts to write since the buffer was opened.</summary>
    public required long WriteFailures { get; init; }

    public static string Describe(WhenFull givesUp) => givesUp switch
    {
        WhenFull.Thin => "old readings are thinned",
        WhenFull.DropOldest => "the oldest readings are dropped",
        WhenFull.RejectNew => "new readings are refused",
        _ => throw new UnreachableException(),
    };
}
