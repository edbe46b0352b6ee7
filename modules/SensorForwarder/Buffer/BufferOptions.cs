namespace SensorForwarder.Buffer;

/// <summary>What happens when the buffer has reached its bounds.</summary>
internal enum WhenFull
{
    /// <summary>Old readings lose resolution, sensor by sensor, so that the whole time span stays covered.</summary>
    Thin,

    /// <summary>The oldest readings go.</summary>
    DropOldest,

    /// <summary>New readings are refused with <see cref="BufferRejectedException"/>; what is stored stays.</summary>
    RejectNew,
}

/// <summary>The tuning that can change while the buffer is open; see
/// <see cref="TelemetryBuffer.ApplyLimits"/>.</summary>
internal sealed record BufferLimits
{
    /// <summary>The smallest <see cref="MaxBytes"/> that still leaves room for the tables and the WAL.</summary>
    public const long MinMaxBytes = 1L << 20;

    /// <summary>The longest a reading waits for company before it is committed: exactly what a power cut can cost.
    /// 0..60 s; 0 commits at once. Default 1 s.</summary>
    public TimeSpan CommitInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Bytes that all files of the buffer may take on the volume, WAL and reserve included.
    /// At least 1 MiB (smaller is taken as 1 MiB). Default 512 MiB.</summary>
    public long MaxBytes { get; init; } = 512L << 20;

    /// <summary>Readings older than this are evicted; 0 means no limit (default). Measured by a clock that does not
    /// step: setting the wall clock evicts nothing.</summary>
    public TimeSpan MaxAge { get; init; } = TimeSpan.Zero;

    /// <summary>Readings that were delivered stay until they are so old, by the same clock, and go in pieces of an
    /// eighth of it; earlier when room is needed. 0 (default) keeps none on purpose.</summary>
    public TimeSpan RetainForwarded { get; init; } = TimeSpan.Zero;

    /// <summary>What gives way when <see cref="MaxBytes"/> is reached. Default <see cref="WhenFull.Thin"/>.</summary>
    public WhenFull WhenFull { get; init; } = WhenFull.Thin;
}

/// <summary>What is fixed while the buffer is open.</summary>
internal sealed record BufferOptions
{
    /// <summary>The directory of <c>telemetry.db</c> and what belongs to it; made when it is missing.</summary>
    public required string Directory { get; init; }

    /// <summary>The first limits.</summary>
    public BufferLimits Limits { get; init; } = new();

    /// <summary>The key for encryption at rest; null stores plain JSON. A file that was made with a key can't be opened
    /// without it.</summary>
    public BufferKey? Key { get; init; }

    /// <summary>How many readings wait in memory while the volume takes none, before the oldest are given up.
    /// 1..1,000,000.</summary>
    public int RingReadings { get; init; } = 65_536;

    /// <summary>The same bound in payload bytes.</summary>
    public long RingBytes { get; init; } = 16L << 20;

    /// <summary>Dead letters beyond this count push out the oldest ones, which is counted like an eviction.</summary>
    public int MaxDeadLetters { get; init; } = 10_000;

    /// <summary>Up to this size a damaged file is salvaged before the buffer is used; a larger one beside the work.
    /// </summary>
    public long SalvagedAtOnceBytes { get; init; } = 16L << 20;

    /// <summary>The kernel's clocks; null takes Linux' own with <see cref="TimeProvider.System"/>, and otherwise
    /// those of the time provider.</summary>
    public Func<KernelTime>? KernelTime { get; init; }

    /// <summary>The SQLite VFS to open with; null is the platform's. For fault injection.</summary>
    public string? Vfs { get; init; }

    /// <summary>Told of every operation on files that does not go through SQLite. For fault injection.</summary>
    public Action<VolumeOperation>? OnVolumeOperation { get; init; }
}
