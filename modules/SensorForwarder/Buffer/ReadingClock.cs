namespace SensorForwarder.Buffer;

/// <summary>A stretch of time in which the wall clock ran straight: wall clock = uptime + offset, within
/// <see cref="ReadingClock.Tolerance"/>.</summary>
/// <param name="Id">Names the segment in the file; 1..</param>
/// <param name="BootId">The boot in which it lies.</param>
/// <param name="OffsetMs">Unix milliseconds minus uptime milliseconds.</param>
/// <param name="Synchronized">Whether a time service disciplined the wall clock.</param>
internal sealed record ClockSegment(int Id, string BootId, long OffsetMs, bool Synchronized);

/// <summary>
/// Knows for each reading what time it really was. Readings name the segment in which they were taken, so a row tells
/// wall clock, monotonic clock (<c>recorded_at - offset</c>), boot and synchronisation at the price of one byte.
/// A step of the wall clock, or a change of its synchronisation, begins a new segment. Any thread.
/// </summary>
internal sealed class ReadingClock
{
    /// <summary>A wall clock that moves further than this against the uptime was set; less is drift.</summary>
    public static readonly TimeSpan Tolerance = TimeSpan.FromMilliseconds(500);

    // 3,000 years.
    const long MaxAgeMs = 100_000_000_000_000;

    readonly Lock _gate = new();
    readonly TimeProvider _timeProvider;
    readonly Func<KernelTime> _kernelTime;
    volatile ClockSegment[] _segments;
    ClockSegment? _current;

    public ReadingClock(TimeProvider timeProvider, Func<KernelTime> kernelTime, IEnumerable<ClockSegment> known)
    {
        _timeProvider = timeProvider;
        _kernelTime = kernelTime;
        _segments = [.. known.OrderBy(s => s.Id)];
    }

    /// <summary>All segments by id. Never shrinks while the buffer is open.</summary>
    public IReadOnlyList<ClockSegment> Segments => _segments;

    /// <summary>The segment in which the wall clock runs now.</summary>
    public ClockSegment Current()
    {
        var kernel = _kernelTime();
        var offsetMs = _timeProvider.GetUtcNow().ToUnixTimeMilliseconds() - (long)kernel.Uptime.TotalMilliseconds;
        var current = Volatile.Read(ref _current);
        return current is not null && Fits(current, kernel, offsetMs) ? current : Change(kernel, offsetMs);
    }

    public ClockSegment? Find(int id)
    {
        var segments = _segments;
        // Ids count up from 1, and hardly ever has one been pruned.
        if (id >= 1 && id <= segments.Length && segments[id - 1].Id == id)
            return segments[id - 1];
        return Array.Find(segments, s => s.Id == id);
    }

    /// <summary>How much must be added to the wall clock of a reading, in milliseconds; null when the wall clock was
    /// not synchronised and never became so in the same boot.</summary>
    public long? CorrectionMs(int segmentId)
    {
        if (Find(segmentId) is not { } segment)
            return null;
        if (segment.Synchronized)
            return 0;
        var segments = _segments;
        for (var i = segments.Length - 1; i >= 0; i--)
        {
            if (segments[i].Synchronized && segments[i].BootId == segment.BootId)
                return segments[i].OffsetMs - segment.OffsetMs;
        }
        return null;
    }

    /// <summary>Segments in which time goes on from one to the next: the number of the first of them, by the number of
    /// each. Where the true time is known it does; a segment without it is by itself.</summary>
    public IReadOnlyDictionary<int, int> Stretches()
    {
        var segments = _segments;
        var known = segments.Where(s => s.Synchronized).Select(s => s.BootId).ToHashSet(StringComparer.Ordinal);
        var stretches = new Dictionary<int, int>(segments.Length);
        var (first, isKnown) = (0, false);
        foreach (var segment in segments)
        {
            var wasKnown = isKnown;
            isKnown = known.Contains(segment.BootId);
            if (!wasKnown || !isKnown)
                first = segment.Id;
            stretches[segment.Id] = first;
        }
        return stretches;
    }

    /// <summary>How old a reading is at least. A step of the wall clock changes nothing: inside one boot the uptime
    /// counts; across boots the wall clock counts only where both ends were synchronised, and else the time for which
    /// the device is known to have run since.</summary>
    public TimeSpan Age(long recordedAtMs, int segmentId)
    {
        var kernel = _kernelTime();
        var segment = Find(segmentId);
        if (segment is null)
            return TimeSpan.Zero;
        if (segment.BootId == kernel.BootId)
            return NotNegative(kernel.Uptime - Milliseconds(recordedAtMs - segment.OffsetMs));
        var now = Current();
        var nowCorrection = CorrectionMs(now.Id);
        if (CorrectionMs(segmentId) is { } correction && nowCorrection is { } known)
        {
            var nowMs = _timeProvider.GetUtcNow().ToUnixTimeMilliseconds() + known;
            return NotNegative(Milliseconds(nowMs - (recordedAtMs + correction)));
        }
        return kernel.Uptime;
    }

    // A damaged record can hold any time, also one that no TimeSpan can.
    static TimeSpan Milliseconds(long value) => TimeSpan.FromMilliseconds(Math.Clamp(value, -MaxAgeMs, MaxAgeMs));

    static TimeSpan NotNegative(TimeSpan age) => age < TimeSpan.Zero ? TimeSpan.Zero : age;

    static bool Fits(ClockSegment segment, KernelTime kernel, long offsetMs) =>
        segment.Synchronized == kernel.Synchronized
        && Math.Abs(segment.OffsetMs - offsetMs) <= Tolerance.TotalMilliseconds
        && segment.BootId == kernel.BootId;

    ClockSegment Change(KernelTime kernel, long offsetMs)
    {
        lock (_gate)
        {
            // A clock that flaps between two states must not grow the list: an old segment that fits is taken again.
            var segments = _segments;
            var found = Array.FindLast(segments, s => Fits(s, kernel, offsetMs));
            if (found is null)
            {
                var id = segments.Length == 0 ? 1 : segments[^1].Id + 1;
                found = new ClockSegment(id, kernel.BootId, offsetMs, kernel.Synchronized);
                _segments = [.. segments, found];
            }
            Volatile.Write(ref _current, found);
            return found;
        }
    }
}
