using SensorForwarder.Time;

namespace SensorForwarder.Buffer;

/// <summary>A period without a step of the wall clock: wall clock = uptime + offset, within
/// <see cref="ReadingClock.Tolerance"/>.</summary>
/// <param name="Id">Identifies the segment in the file; 1..</param>
/// <param name="BootId">The kernel's boot id.</param>
/// <param name="OffsetMs">Unix milliseconds minus uptime milliseconds.</param>
/// <param name="Synchronized">Whether a time service (NTP) synchronised the wall clock.</param>
internal sealed record ClockSegment(int Id, string BootId, long OffsetMs, bool Synchronized);

/// <summary>
/// Corrects the times of readings taken before the wall clock was synchronised. Each reading stores the id of its clock
/// segment, from which its monotonic time (<c>recorded_at - offset</c>), boot and synchronisation follow. A step of the
/// wall clock, or a change of its synchronisation, begins a new segment. Thread-safe.
/// </summary>
internal sealed class ReadingClock
{
    /// <summary>A larger change of the wall clock against the uptime is a step; a smaller one is drift.</summary>
    public static readonly TimeSpan Tolerance = TimeSpan.FromMilliseconds(500);

    // 3,000 years: the limit of ages computed from damaged records.
    const long MaxAgeMs = 100_000_000_000_000;

    readonly Lock _gate = new();
    readonly TimeProvider _timeProvider;
    readonly Func<KernelTime> _kernelTime;
    volatile ClockSegment[] _segments;
    volatile ClockSegment? _current;

    public ReadingClock(TimeProvider timeProvider, Func<KernelTime> kernelTime, IEnumerable<ClockSegment> known)
    {
        _timeProvider = timeProvider;
        _kernelTime = kernelTime;
        _segments = [.. known.OrderBy(s => s.Id)];
    }

    /// <summary>All segments in order of ids; only grows while the buffer is open.</summary>
    public IReadOnlyList<ClockSegment> Segments => _segments;

    /// <summary>The current segment; begins a new one if the wall clock stepped.</summary>
    public ClockSegment Current()
    {
        var kernel = _kernelTime();
        var offsetMs = _timeProvider.GetUtcNow().ToUnixTimeMilliseconds() - (long)kernel.Uptime.TotalMilliseconds;
        return _current is { } current && Fits(current, kernel, offsetMs) ? current : Change(kernel, offsetMs);
    }

    public ClockSegment? Find(int id)
    {
        var segments = _segments;
        // Ids count up from 1, usually without gaps.
        if (id >= 1 && id <= segments.Length && segments[id - 1].Id == id)
            return segments[id - 1];
        return Array.Find(segments, s => s.Id == id);
    }

    /// <summary>Milliseconds to add to the recorded time of a reading; null when the wall clock was not synchronised
    /// and was not synchronised later in the same boot either.</summary>
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

    /// <summary>Groups consecutive segments whose corrected times are comparable: maps the id of each segment to the
    /// first id of its group. A segment without a correction has its own group.</summary>
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

    /// <summary>The minimum age of a reading, not affected by steps of the wall clock. Within a boot it is measured by
    /// uptime. Across boots it is measured by the wall clock if both times can be corrected; otherwise it is the uptime
    /// of the current boot.</summary>
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

    // A damaged record can hold a time outside the range of TimeSpan.
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
            // Reuse an old segment that fits: a clock that alternates between two states must not grow the list.
            var segments = _segments;
            var found = Array.FindLast(segments, s => Fits(s, kernel, offsetMs));
            if (found is null)
            {
                var id = segments.Length == 0 ? 1 : segments[^1].Id + 1;
                found = new ClockSegment(id, kernel.BootId, offsetMs, kernel.Synchronized);
                _segments = [.. segments, found];
            }
            return _current = found;
        }
    }
}
