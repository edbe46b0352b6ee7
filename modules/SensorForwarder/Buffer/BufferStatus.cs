using System.Diagnostics;
using System.Globalization;

namespace SensorForwarder.Buffer;

/// <summary>The state of the buffer's storage.</summary>
internal enum StorageState
{
    /// <summary>Readings are committed.</summary>
    Ok,

    /// <summary>The volume is full; readings wait in memory.</summary>
    Full,

    /// <summary>The volume or the file is not writable; readings wait in memory.</summary>
    ReadOnly,

    /// <summary>Another process holds the write lock; readings wait in memory.</summary>
    Busy,

    /// <summary>I/O errors; readings wait in memory.</summary>
    Failing,

    /// <summary>The buffer is full with <see cref="WhenFull.RejectNew"/>: new readings are refused.</summary>
    Refusing,

    /// <summary>The buffer was closed.</summary>
    Closed,
}

/// <summary>Readings evicted for one reason since the file was created.</summary>
/// <param name="Reason"><c>thinned</c>, <c>dropped</c>, <c>expired</c>, <c>rejected</c>, <c>overflow</c>,
/// <c>damaged</c>, <c>undeliverable</c>.</param>
/// <param name="BySensor">The number of readings by sensor name.</param>
internal sealed record EvictionTotal(string Reason, long Count, IReadOnlyDictionary<string, long> BySensor);

/// <summary>The result of the salvage of a damaged file.</summary>
/// <param name="At">When it began, by the wall clock.</param>
/// <param name="Reason">The damage.</param>
/// <param name="Readings">Readings copied so far, dead letters included.</param>
/// <param name="Missing">Undelivered readings that were not found; 0 until it is complete.</param>
/// <param name="KeptAs">The path of the damaged file.</param>
internal sealed record SalvageReport(DateTimeOffset At, string Reason, long Readings, long Missing, string KeptAs)
{
    /// <summary>False while readings are still being copied in the background.</summary>
    public bool IsComplete { get; init; } = true;

    /// <summary>The serialised form, kept in <see cref="Meta.Salvaged"/>.</summary>
    public string Text => string.Join('\n', At.ToUnixTimeMilliseconds(), Reason, Readings, Missing, KeptAs);

    public static SalvageReport? Parse(string? text) =>
        text?.Split('\n') is { Length: 5 } parts && long.TryParse(parts[0], CultureInfo.InvariantCulture, out var at)
            && long.TryParse(parts[2], CultureInfo.InvariantCulture, out var readings)
            && long.TryParse(parts[3], CultureInfo.InvariantCulture, out var missing)
            ? new SalvageReport(TimeRepair.Moment(at), parts[1], readings, missing, parts[4])
            : null;
}

/// <summary>A consistent snapshot of the buffer as of the last commit; ages and file sizes as of the call.</summary>
internal sealed record BufferStatus
{
    /// <summary>Waiting readings in the file.</summary>
    public required long Depth { get; init; }

    /// <summary>Readings enqueued and not committed yet.</summary>
    public required int InMemory { get; init; }

    /// <summary>The recorded (uncorrected) time of the oldest waiting reading; null when none is waiting.</summary>
    public required DateTimeOffset? OldestRecordedAt { get; init; }

    /// <summary>The minimum age of that reading, see <see cref="ReadingClock.Age"/>; null when none is
    /// waiting.</summary>
    public required TimeSpan? OldestAge { get; init; }

    /// <summary>Total length of the buffer's files, WAL and reserve included.</summary>
    public required long FileBytes { get; init; }

    /// <summary>Limit of the total length: <c>bufferMaxMegabytes</c>, or less if the volume has less free
    /// space.</summary>
    public required long MaxBytes { get; init; }

    /// <summary>Bytes of the database's used pages.</summary>
    public required long UsedBytes { get; init; }

    /// <summary>Readings in the file, including delivered ones.</summary>
    public required long Stored { get; init; }

    /// <summary>Length of the WAL.</summary>
    public required long WalBytes { get; init; }

    public required StorageState Storage { get; init; }

    /// <summary>One line: why <see cref="Storage"/> is not Ok, or how room is made; null when neither
    /// applies.</summary>
    public required string? StorageReason { get; init; }

    /// <summary>What the buffer does because it is full, until there is clearly more room; null: it is not full.
    /// </summary>
    public required WhenFull? FullAction { get; init; }

    /// <summary>Whether a time service (NTP) synchronises the wall clock.</summary>
    public required bool ClockSynchronized { get; init; }

    /// <summary>Evicted readings by reason and sensor.</summary>
    public required IReadOnlyList<EvictionTotal> Evicted { get; init; }

    /// <summary>Dead letters in the file.</summary>
    public required long DeadLetters { get; init; }

    /// <summary>Readings that became dead letters since the buffer was opened, including those no longer
    /// stored.</summary>
    public required long DeadLettered { get; init; }

    /// <summary>The running or last salvage into this file; null when there was none.</summary>
    public required SalvageReport? Salvage { get; init; }

    /// <summary>Transactions since the buffer was opened.</summary>
    public required long Commits { get; init; }

    /// <summary>Readings committed since the buffer was opened.</summary>
    public required long CommittedReadings { get; init; }

    /// <summary>Payload bytes committed since the buffer was opened.</summary>
    public required long CommittedBytes { get; init; }

    /// <summary>Failed attempts to write since the buffer was opened.</summary>
    public required long WriteFailures { get; init; }

    public static string Describe(WhenFull whenFull) => whenFull switch
    {
        WhenFull.Thin => "old readings are thinned",
        WhenFull.DropOldest => "the oldest readings are dropped",
        WhenFull.RejectNew => "new readings are refused",
        _ => throw new UnreachableException(),
    };
}
