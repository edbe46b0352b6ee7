namespace SensorForwarder.Forwarding;

/// <summary>
/// Tracks roughly when ids were committed, in monotonic time, to distinguish new readings from the backlog without
/// reading the database. Used by the forwarder's loop only.
/// </summary>
internal sealed class CommitAges(TimeProvider timeProvider)
{
    // The resolution: marks are at least 1/16 of the span apart.
    const int MarksInSpan = 16;

    readonly List<(long Id, long Timestamp)> _marks = [];
    long _oldThrough;

    /// <summary>Ids up to this one are older than the longest span.</summary>
    public void SetOld(long throughId) => _oldThrough = Math.Max(_oldThrough, throughId);

    /// <summary>Records the highest committed id at this time.</summary>
    /// <param name="span">The longest age that is passed to <see cref="CommittedBefore"/>.</param>
    public void Note(long lastId, TimeSpan span)
    {
        while (_marks.Count > 0 && timeProvider.GetElapsedTime(_marks[0].Timestamp) >= span)
        {
            SetOld(_marks[0].Id);
            _marks.RemoveAt(0);
        }

        if (lastId <= (_marks.Count > 0 ? _marks[^1].Id : _oldThrough)) return;
        if (_marks.Count > 0 && timeProvider.GetElapsedTime(_marks[^1].Timestamp) < span / MarksInSpan) return;
        _marks.Add((lastId, timeProvider.GetTimestamp()));
    }

    /// <summary>The highest id that was certainly committed at least this long ago.</summary>
    public long CommittedBefore(TimeSpan age)
    {
        var id = _oldThrough;
        foreach (var mark in _marks)
        {
            if (timeProvider.GetElapsedTime(mark.Timestamp) < age) break;
            id = mark.Id;
        }

        return id;
    }
}
