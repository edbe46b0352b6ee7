using SensorForwarder.Time;

namespace SensorForwarder.Buffer;

/// <summary>How the buffer makes room when it is full.</summary>
internal enum WhenFull
{
    /// <summary>Reduce the resolution of old readings, sensor by sensor, so that the whole time span stays covered.
    /// </summary>
    Thin,

    /// <summary>Drop the oldest readings.</summary>
    DropOldest,

    /// <summary>Refuse new readings with <see cref="BufferRejectedException"/>; stored ones are kept.</summary>
    RejectNew,
}

/// <summary>Settings that can change while the buffer is open; see <see cref="TelemetryBuffer.ApplyLimits"/>.</summary>
internal sealed record BufferLimits
{
    /// <summary>The smallest <see cref="MaxBytes"/> that still leaves room for the tables and the WAL.</summary>
    public const long MinMaxBytes = 1L << 20;

    /// <summary>How long a reading may wait for its commit, so that several share one; a power cut loses the readings
    /// of this period. 0..60 s; 0 commits at once. Default 1 s.</summary>
    public TimeSpan CommitInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Limit of the buffer's files on the volume in bytes, WAL and reserve included. At least 1 MiB; a smaller
    /// value counts as 1 MiB. Default 512 MiB.</summary>
    public long MaxBytes { get; init; } = 512L << 20;

    /// <summary>Waiting readings older than this are evicted; 0 (default): no limit. See
    /// <see cref="ReadingClock.Age"/>: setting the wall clock evicts nothing.</summary>
    public TimeSpan MaxAge { get; init; } = TimeSpan.Zero;

    /// <summary>Delivered readings are kept until they are this old, and up to an eighth longer, unless room is needed.
    /// 0 (default): they are dropped with a later commit.</summary>
    public TimeSpan RetainForwarded { get; init; } = TimeSpan.Zero;

    /// <summary>Bytes of the volume that the buffer leaves free; with less, it makes room as at <see cref="MaxBytes"/>.
    /// 0 (default): none.</summary>
    public long KeepFreeBytes { get; init; }

    /// <summary>How room is made when <see cref="MaxBytes"/> is reached. Default <see cref="WhenFull.Thin"/>.</summary>
    public WhenFull WhenFull { get; init; } = WhenFull.Thin;
}

/// <summary>Options that are fixed while the buffer is open.</summary>
internal sealed record BufferOptions
{
    /// <summary>The directory of the buffer's files; created when missing.</summary>
    public required string Directory { get; init; }

    /// <summary>The initial limits.</summary>
    public BufferLimits Limits { get; init; } = new();

    /// <summary>The key for encryption at rest; null: unencrypted. An encrypted file can't be opened without its key.
    /// </summary>
    public BufferKey? Key { get; init; }

    /// <summary>Readings that may wait in memory while the volume is not writable; beyond that the oldest are dropped.
    /// 1..1,000,000.</summary>
    public int RingReadings { get; init; } = 65_536;

    /// <summary>Limit of the payload bytes of these readings.</summary>
    public long RingBytes { get; init; } = 16L << 20;

    /// <summary>Limit of dead letters; beyond it the oldest are deleted and counted as evicted.</summary>
    public int MaxDeadLetters { get; init; } = 10_000;

    /// <summary>The kernel's clocks; null: those of Linux with <see cref="TimeProvider.System"/>, otherwise those of
    /// the time provider.</summary>
    public Func<KernelTime>? KernelTime { get; init; }

    /// <summary>The SQLite VFS; null: the default. For fault injection.</summary>
    public string? Vfs { get; init; }

    /// <summary>Called before every file operation that does not go through SQLite. For fault injection.</summary>
    public Action<VolumeOperation>? OnVolumeOperation { get; init; }
}
