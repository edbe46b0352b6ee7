namespace SensorForwarder.Buffer;

/// <summary>The part of the store beside the queue: dead letters, documents, clock segments, <c>meta</c>.</summary>
internal sealed partial class QueueStore
{
    const int MaxAnswerLength = 4_096;

    public bool MoveToDeadLetters(long id, string reason, string? answer, long refusedAtMs)
    {
        if (id <= Marks.AcknowledgedThrough)
            return false;
        using (var copy = _connection.PrepareOnce("""
            INSERT OR REPLACE INTO dead_letter(id, recorded_at, clock, payload, refused_at, reason, answer)
            SELECT id, recorded_at, clock, payload, ?2, ?3, ?4 FROM queue WHERE id = ?1
            """))
        {
            copy.Bind(1, id).Bind(2, refusedAtMs).Bind(3, reason);
            var kept = answer?.Length > MaxAnswerLength ? answer[..MaxAnswerLength] : answer;
            if (kept is not null && _cipher is not null)
                copy.BindBlob(4, _cipher.SealAnswer(id, kept)).Run();
            else
                copy.Bind(4, kept).Run();
        }
        if (Delete(id, id) == 0)
            return false;
        Marks = Marks with { DeadLetters = Marks.DeadLetters + 1 };
        RefreshFirst();
        return true;
    }

    /// <summary>Moves dead letters back into the queue, oldest first.</summary>
    public int ReturnDeadLetters(int maxCount)
    {
        if (_connection.QueryNumber("SELECT min(id) FROM dead_letter") is { } lowest)
            ForgetAcknowledged(lowest);
        using (var copy = _connection.PrepareOnce("""
            INSERT OR IGNORE INTO queue(id, recorded_at, clock, payload)
            SELECT id, recorded_at, clock, payload FROM dead_letter ORDER BY id LIMIT ?1
            """))
        {
            copy.Bind(1, maxCount).Run();
        }
        var returned = _connection.Changes();
        Marks = Marks with { Depth = Marks.Depth + returned };
        RemoveDeadLetters(maxCount);
        RefreshFirst();
        return returned;
    }

    /// <summary>Deletes the oldest dead letters.</summary>
    public int RemoveDeadLetters(int maxCount)
    {
        using (var delete = _connection.PrepareOnce(
            "DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter ORDER BY id LIMIT ?1)"))
        {
            delete.Bind(1, maxCount).Run();
        }
        var removed = _connection.Changes();
        Marks = Marks with { DeadLetters = Marks.DeadLetters - removed };
        return removed;
    }

    public void SaveDocument(string name, ReadOnlySpan<byte> content) =>
        _saveDocument.Bind(1, name).BindBlob(2, _cipher is null ? content : _cipher.SealDocument(name, content)).Run();

    /// <summary>Writes the clock segments that rows of this transaction may name.</summary>
    public void SaveClocks(IReadOnlyList<ClockSegment> segments)
    {
        for (var i = segments.Count - 1; i >= 0 && segments[i].Id > _savedClock; i--)
        {
            var segment = segments[i];
            _saveClock.Bind(1, segment.Id).Bind(2, segment.BootId).Bind(3, segment.OffsetMs)
                .Bind(4, segment.Synchronized ? 1 : 0).Run();
            _transactionSavedClock = Math.Max(_transactionSavedClock, segment.Id);
        }
    }

    public List<ClockSegment> LoadClocks() => LoadClocks(_connection);

    public static List<ClockSegment> LoadClocks(SqliteConnection connection)
    {
        var segments = new List<ClockSegment>();
        using var query = connection.PrepareOnce(
            "SELECT id, boot_id, offset_ms, synchronized FROM clock WHERE id BETWEEN 1 AND ?1 ORDER BY id");
        query.Bind(1, SalvagedRecords.MaxClock);
        while (query.Step())
        {
            segments.Add(new ClockSegment(
                (int)query.Number(0), query.Text(1), query.Number(2), query.Number(3) != 0));
        }
        return segments;
    }

    public void SetMeta(string name, long value) => _setMeta.Bind(1, name).Bind(2, value).Run();

    public void SetMeta(string name, string value) => _setMeta.Bind(1, name).Bind(2, value).Run();

    public string? GetMeta(string name)
    {
        using var query = _connection.PrepareOnce("SELECT value FROM meta WHERE name = ?1");
        return query.Bind(1, name).Step() ? query.Text(0) : null;
    }

    public void RemoveMeta(string name)
    {
        using var delete = _connection.PrepareOnce("DELETE FROM meta WHERE name = ?1");
        delete.Bind(1, name).Run();
    }
}
