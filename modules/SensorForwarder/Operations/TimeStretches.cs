using SensorForwarder.Buffer;

namespace SensorForwarder.Operations;

/// <summary>Readings of successive ids among which time only goes on.</summary>
/// <param name="From">When the first was recorded.</param>
/// <param name="To">When the last was recorded.</param>
internal readonly record struct TimeStretch(long FirstId, long LastId, DateTimeOffset From, DateTimeOffset To);

/// <summary>
/// Finds readings by their time, by bisection. Ids go with time but for a clock that was wrong: a device without a
/// battery for it comes back from a power cut with a time that has been already, and in a blackout nobody sets it
/// right. So what lies between two such changes of the clock is looked at by itself. One thread.
/// </summary>
internal sealed class TimeStretches(BatchReader reader, long lastId)
{
    // A clock that drifts, and is set then, may have put readings out of order by so much.
    static readonly TimeSpan Slack = TimeSpan.FromMinutes(1);

    readonly IReadOnlyDictionary<int, int> _stretches = reader.ClockStretches();

    /// <summary>Readings that were looked at to find others.</summary>
    public long Looks { get; private set; }

    /// <summary>All stretches that have readings, the newest first; beyond the last of <paramref name="most"/> all that
    /// is older counts as one.</summary>
    public List<TimeStretch> Find(int most)
    {
        var found = new List<TimeStretch>();
        var (end, stretch) = (lastId + 1, int.MaxValue);
        ReadingTime? last = null;
        while (true)
        {
            var (first, before) = found.Count == most ? (1, null) : FindFirst(1, end, row => StretchOf(row) >= stretch);
            if (last is not null && Look(first) is { } row) found.Add(
                new(first, end - 1, row.RecordedAt, last.Value.RecordedAt));
            if (before is null) return found;
            (end, last, stretch) = (first, before, StretchOf(before.Value));
        }
    }

    /// <summary>The ids of readings of a time, and some around them.</summary>
    /// <returns>None when there are none.</returns>
    public (long First, long Last)? Within(TimeStretch stretch, DateTimeOffset from, DateTimeOffset to)
    {
        if (stretch.To < from - Slack || stretch.From > to + Slack) return null;
        var first = stretch.From >= from
            ? stretch.FirstId
            : FindFirst(stretch.FirstId, stretch.LastId + 1, row => row.RecordedAt >= from - Slack).Id;
        var last = stretch.To <= to
            ? stretch.LastId
            : FindFirst(first, stretch.LastId + 1, row => row.RecordedAt > to + Slack).Id - 1;
        return first <= last ? (first, last) : null;
    }

    /// <summary>The first id of a range whose reading fulfils what all later ones do;
    /// <paramref name="end"/> when none does.</summary>
    /// <returns>The reading before it too, if there is one in the range.</returns>
    (long Id, ReadingTime? Before) FindFirst(long low, long end, Func<ReadingTime, bool> isBehind)
    {
        var (high, before) = (end, default(ReadingTime?));
        while (low < high)
        {
            var middle = low + ((high - low) / 2);
            if (Look(middle) is not { } row || row.Id >= high || isBehind(row)) high = middle;
            else (low, before) = (row.Id + 1, row);
        }

        return (low, before);
    }

    int StretchOf(ReadingTime row) => _stretches.GetValueOrDefault(row.Clock, row.Clock);

    ReadingTime? Look(long id)
    {
        Looks++;
        return reader.PeekTime(id - 1);
    }
}
