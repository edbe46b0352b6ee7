namespace SensorForwarder.Forwarding;

/// <summary>
/// Remembers roughly when which ids were committed, by a clock that does not step: what is new and what is backlog is
/// known without looking into the file. Used by the forwarder's loop only.
/// </summary>
internal sealed class CommitAges(TimeProvider timeProvider)
{
    // How finely a span of time is told apart.
    const int MarksInSpan = 16;

    readonly List<(long Id, long Timestamp)> _marks = [];
    long _oldThrough;

    /// <summary>Everything up to this id was there long ago.</summary>
    public void SetOld(long throughId) => _oldThrough = Math.Max(_oldThrough, throughId);

    /// <summary>Everything up to this id is committed now.</summary>
    /// <param name="lastId">The highest committed id.</param>
    /// <param name="span">The longest time that is asked for.</param>
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

    /// <summary>The highest id that is known to have been committed at least so long ago.</summary>
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
