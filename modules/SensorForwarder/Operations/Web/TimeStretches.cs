using SensorForwarder.Buffer;

namespace SensorForwarder.Operations.Web;

/// <summary>A range of ids in which the recorded time does not go back.</summary>
/// <param name="From">When the first was recorded.</param>
/// <param name="To">When the last was recorded.</param>
internal readonly record struct TimeStretch(long FirstId, long LastId, DateTimeOffset From, DateTimeOffset To);

/// <summary>
/// Finds readings by time, by bisection. Ids increase with time except where the clock was wrong: a device without a
/// clock battery restarts at an earlier time, which nothing corrects while there is no network. So each stretch between
/// two such clock changes is searched separately. Not thread-safe.
/// </summary>
internal sealed class TimeStretches(History history, long lastId)
{
    // Small corrections of a drifting clock may have put readings out of order by this much.
    static readonly TimeSpan Slack = TimeSpan.FromMinutes(1);

    readonly IReadOnlyDictionary<int, int> _stretches = history.ClockStretches();

    /// <summary>Number of readings looked at during the search.</summary>
    public long Looks { get; private set; }

    /// <summary>The stretches that have readings, newest first. After <paramref name="most"/> of them, everything older
    /// counts as one.</summary>
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

    /// <summary>The ids of the readings of a time, and some before and after.</summary>
    /// <returns>Null if there are none.</returns>
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

    /// <summary>Bisects a range for the first id whose reading, and all later ones, satisfy a condition;
    /// <paramref name="end"/> if none does.</summary>
    /// <returns>The id, and the reading before it, if the range has one.</returns>
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
        return history.PeekTime(id - 1);
    }
}
