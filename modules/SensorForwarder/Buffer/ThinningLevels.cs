using System.Globalization;

namespace SensorForwarder.Buffer;

/// <summary>
/// Records how often each part of the queue was thinned. Thinning moves the oldest readings of a level to the next
/// level, so a level is one range of ids, and older readings are never of a lower level. Stored in <c>meta</c>, in the
/// same transaction as the segments. Used by the writer's thread.
/// </summary>
internal sealed class ThinningLevels
{
    /// <summary>The highest level: one reading is left of 2^40.</summary>
    public const int MaxLevel = 40;

    // [0] is level 1: the last id of the level, and the number of its readings.
    readonly List<(long LastId, long Rows)> _levels = [];

    public static ThinningLevels Load(Store store)
    {
        var levels = new ThinningLevels();
        foreach (var level in store.Meta.Levels.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = level.Split(':');
            if (parts.Length == 2
                && long.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var lastId)
                && long.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var rows))
            {
                levels._levels.Add((lastId, rows));
            }
        }
        levels.ForgetDelivered(store.View);
        return levels;
    }

    public void Save(Store store) => store.Meta.Levels = string.Join(' ', _levels.Select(l =>
        string.Create(CultureInfo.InvariantCulture, $"{l.LastId}:{l.Rows}")));

    /// <summary>The levels that have enough readings to be thinned, fullest first, so that resolution decreases
    /// gradually with age.</summary>
    /// <param name="wholeFromId">Readings from this id on are not thinned.</param>
    /// <returns>Each level with the range of its ids.</returns>
    public IEnumerable<(int Level, long AfterId, long ThroughId)> Choose(StoreView view, long wholeFromId)
    {
        const long TooFew = 64;
        var enough = new List<(long Rows, int Level, long AfterId, long ThroughId)>();
        for (var level = 0; level <= Math.Min(_levels.Count, MaxLevel - 1); level++)
        {
            var after = level < _levels.Count ? _levels[level].LastId : 0;
            var through = level == 0 ? wholeFromId - 1 : _levels[level - 1].LastId;
            var rows = level == 0 ? through - Math.Max(after, view.FirstId - 1) : _levels[level - 1].Rows;
            if (through > after && rows > TooFew)
                enough.Add((rows, level, after, through));
        }
        return enough.OrderByDescending(l => l.Rows).Select(l => (l.Level, l.AfterId, l.ThroughId));
    }

    /// <summary>Records that the oldest readings of a level, up to an id, were thinned.</summary>
    /// <param name="before">Their number.</param>
    /// <param name="after">The number of readings kept.</param>
    public void Advance(int level, long throughId, int before, int after)
    {
        if (level > 0)
            _levels[level - 1] = (_levels[level - 1].LastId, Math.Max(0, _levels[level - 1].Rows - before));
        if (level == _levels.Count)
            _levels.Add((throughId, after));
        else
            _levels[level] = (throughId, _levels[level].Rows + after);
    }

    // Delivered and dropped readings are the oldest, so they are subtracted from the highest level first.
    void ForgetDelivered(StoreView view)
    {
        while (_levels.Count > 0 && _levels[^1].LastId < view.FirstId)
            _levels.RemoveAt(_levels.Count - 1);
        if (_levels.Count == 0)
            return;
        var thinned = Math.Max(0, view.State.Waiting - (view.State.LastId - _levels[0].LastId));
        var excess = _levels.Sum(l => l.Rows) - thinned;
        for (var i = _levels.Count - 1; i >= 0 && excess > 0; i--)
        {
            var gone = Math.Min(excess, _levels[i].Rows);
            _levels[i] = (_levels[i].LastId, _levels[i].Rows - gone);
            excess -= gone;
        }
    }
}
