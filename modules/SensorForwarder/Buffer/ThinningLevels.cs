using System.Globalization;

namespace SensorForwarder.Buffer;

/// <summary>
/// How often which part of the queue was thinned. Thinning takes the oldest readings of a level and makes them the
/// newest of the next level, so a level is one stretch of ids, and older readings are never of a lower level.
/// Kept in <c>meta</c>, changed with the rows it is about.
/// </summary>
internal sealed class ThinningLevels
{
    /// <summary>Thinned so often, a stretch has one reading where there were 2^40.</summary>
    public const int MaxLevel = 40;

    // [0] belongs to level 1: the last id of the level, and its rows.
    readonly List<(long LastId, long Rows)> _levels = [];

    public static ThinningLevels Load(QueueStore store)
    {
        var levels = new ThinningLevels();
        var text = store.Connection.QueryText("SELECT value FROM meta WHERE name = 'thinned'") ?? "";
        foreach (var level in text.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = level.Split(':');
            if (parts.Length == 2
                && long.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var lastId)
                && long.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var rows))
            {
                levels._levels.Add((lastId, rows));
            }
        }
        levels.ForgetAcknowledged(store.Marks);
        return levels;
    }

    public void Save(QueueStore store) => store.SetMeta("thinned", string.Join(' ', _levels.Select(l =>
        string.Create(CultureInfo.InvariantCulture, $"{l.LastId}:{l.Rows}"))));

    /// <summary>The levels to thin next: first the one with the most readings, so that detail is lost bit by bit with
    /// age, and not all at once.</summary>
    /// <param name="wholeFromId">Readings from here on are new, and stay whole.</param>
    /// <returns>The levels that have enough, and the ids between which their readings lie.</returns>
    public IEnumerable<(int Level, long AfterId, long ThroughId)> Choose(QueueMarks marks, long wholeFromId)
    {
        const long TooFew = 64;
        var enough = new List<(long Rows, int Level, long AfterId, long ThroughId)>();
        for (var level = 0; level <= Math.Min(_levels.Count, MaxLevel - 1); level++)
        {
            var after = level < _levels.Count ? _levels[level].LastId : 0;
            var through = level == 0 ? wholeFromId - 1 : _levels[level - 1].LastId;
            var rows = level == 0 ? through - Math.Max(after, marks.FirstId - 1) : _levels[level - 1].Rows;
            if (through > after && rows > TooFew)
                enough.Add((rows, level, after, through));
        }
        return enough.OrderByDescending(l => l.Rows).Select(l => (l.Level, l.AfterId, l.ThroughId));
    }

    /// <summary>A piece of a level was thinned.</summary>
    public void Advance(int level, long throughId, int before, int after)
    {
        if (level > 0)
            _levels[level - 1] = (_levels[level - 1].LastId, Math.Max(0, _levels[level - 1].Rows - before));
        if (level == _levels.Count)
            _levels.Add((throughId, after));
        else
            _levels[level] = (throughId, _levels[level].Rows + after);
    }

    // Readings leave at the old end, from the highest level first.
    void ForgetAcknowledged(QueueMarks marks)
    {
        while (_levels.Count > 0 && _levels[^1].LastId < marks.FirstId)
            _levels.RemoveAt(_levels.Count - 1);
        if (_levels.Count == 0)
            return;
        var thinned = Math.Max(0, marks.Depth - (marks.LastId - _levels[0].LastId));
        var excess = _levels.Sum(l => l.Rows) - thinned;
        for (var i = _levels.Count - 1; i >= 0 && excess > 0; i--)
        {
            var gone = Math.Min(excess, _levels[i].Rows);
            _levels[i] = (_levels[i].LastId, _levels[i].Rows - gone);
            excess -= gone;
        }
    }
}
