namespace SensorForwarder.Buffer;

/// <summary>The tables, as the writer changes them: SQL and the marks that go with it. Owned by the writer's thread.
/// Everything throws <see cref="SqliteFailure"/>; after one, <see cref="Rollback"/>.</summary>
internal sealed partial class QueueStore : IDisposable
{
    // Rows that are deleted in one transaction.
    const int DeletePieceRows = 20_000;

    // So few waiting rows are sooner written again than deleted around.
    const int FewRows = 1_024;

    /// <summary>Up to this id rows are not shown to readers yet: <see cref="PendingSalvage"/>.</summary>
    public const string HiddenName = "hidden_through";

    public const string AcknowledgedName = "acknowledged_through";
    public const string AcknowledgedCheckName = "acknowledged_check";

    /// <summary>What <see cref="TelemetryBuffer.KeepNote"/> keeps.</summary>
    public const string NoteName = "note";

    readonly SqliteConnection _connection;
    readonly PayloadCipher? _cipher;
    readonly SqliteStatement _begin;
    readonly SqliteStatement _commit;
    readonly SqliteStatement _append;
    readonly SqliteStatement _insert;
    readonly SqliteStatement _delete;
    readonly SqliteStatement _first;
    readonly SqliteStatement _setMeta;
    readonly SqliteStatement _saveClock;
    readonly SqliteStatement _saveDocument;
    readonly SqliteStatement _pageCount;
    readonly SqliteStatement _freePages;
    QueueMarks _committed;
    long _persistedHoles;
    int _savedClock;
    int _transactionSavedClock;

    /// <param name="cipher">Seals payloads, answers and documents; null stores them plain. Disposed with the store.</param>
    public QueueStore(SqliteConnection connection, PayloadCipher? cipher)
    {
        _connection = connection;
        _cipher = cipher;
        _begin = connection.Prepare("BEGIN IMMEDIATE");
        _commit = connection.Prepare("COMMIT");
        _append = connection.Prepare("INSERT INTO queue(id, recorded_at, clock, payload) VALUES(?1, ?2, ?3, ?4)");
        _insert = connection.Prepare(
            "INSERT OR IGNORE INTO queue(id, recorded_at, clock, payload) VALUES(?1, ?2, ?3, ?4)");
        _delete = connection.Prepare("DELETE FROM queue WHERE id BETWEEN ?1 AND ?2");
        _first = connection.Prepare("SELECT id, recorded_at, clock FROM queue WHERE id > ?1 ORDER BY id LIMIT 1");
        _setMeta = connection.Prepare("INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)");
        _saveClock = connection.Prepare(
            "INSERT OR IGNORE INTO clock(id, boot_id, offset_ms, synchronized) VALUES(?1, ?2, ?3, ?4)");
        _saveDocument = connection.Prepare("INSERT OR REPLACE INTO document(name, content) VALUES(?1, ?2)");
        _pageCount = connection.Prepare("PRAGMA page_count");
        _freePages = connection.Prepare("PRAGMA freelist_count");
        Marks = _committed = ReadMarks();
    }

    /// <summary>As of the running transaction, or of the last one.</summary>
    public QueueMarks Marks { get; private set; }

    public SqliteConnection Connection => _connection;

    /// <summary>Whether the running transaction changed <c>evicted</c>.</summary>
    public bool HasEvicted { get; set; }

    public void Begin()
    {
        _begin.Run();
        HasEvicted = false;
        _transactionSavedClock = _savedClock;
    }

    public void Commit()
    {
        if (Marks.Holes != _persistedHoles)
            SetMeta("holes", Marks.Holes);
        if (Marks.AcknowledgedThrough != _committed.AcknowledgedThrough)
            SaveAcknowledged(Marks.AcknowledgedThrough);
        _commit.Run();
        _committed = Marks;
        _persistedHoles = Marks.Holes;
        _savedClock = _transactionSavedClock;
    }

    /// <summary>Undoes the running transaction, if one is left. Never throws.</summary>
    public void Rollback()
    {
        Marks = _committed;
        if (!_connection.InTransaction)
            return;
        try
        {
            _connection.Execute("ROLLBACK");
        }
        catch (SqliteFailure)
        {
            // SQLite rolls back by itself after an I/O error; what matters is that no transaction is left.
        }
    }

    /// <summary>Adds a reading under the next id.</summary>
    public void Append(long recordedAtMs, int clock, ReadOnlySpan<byte> payload)
    {
        var id = Marks.LastId + 1;
        _append.Bind(1, id).Bind(2, recordedAtMs).Bind(3, clock);
        if (_cipher is null)
            _append.BindText(4, payload).Run();
        else
            _append.BindBlob(4, _cipher.Seal(id, payload)).Run();
        Marks = Marks.Depth == 0
            ? Marks with { LastId = id, Depth = 1, FirstId = id, FirstRecordedAtMs = recordedAtMs, FirstClock = clock }
            : Marks with { LastId = id, Depth = Marks.Depth + 1 };
    }

    /// <summary>The JSON of a stored payload; empty when it can't be unsealed.</summary>
    public ReadOnlySpan<byte> Plain(long id, ReadOnlySpan<byte> stored, bool isBlob) =>
        PayloadCipher.IsSealed(stored, isBlob) ? _cipher?.Unseal(id, stored) : stored;

    /// <summary>Puts a row back under an id that it had before.</summary>
    /// <returns>Whether the id was free.</returns>
    public bool Restore(long id, long recordedAtMs, int clock, ReadOnlySpan<byte> payload, bool isBlob)
    {
        _insert.Bind(1, id).Bind(2, recordedAtMs).Bind(3, clock);
        if (isBlob)
            _insert.BindBlob(4, payload);
        else
            _insert.BindText(4, payload);
        _insert.Run();
        if (_connection.Changes() == 0)
            return false;
        Marks = Marks with { Depth = Marks.Depth + 1, LastId = Math.Max(id, Marks.LastId) };
        return true;
    }

    /// <summary>The rows of an id range were delivered. At the old end of the queue that is only noted.</summary>
    public void Acknowledge(long firstId, long lastId)
    {
        lastId = Math.Min(lastId, Marks.LastId);
        if (lastId < Marks.FirstId)
            return;
        if (firstId > Marks.FirstId)
        {
            Delete(firstId, lastId);
            return;
        }
        var rows = Marks.Holes == 0 ? lastId - Marks.FirstId + 1 : Count(Marks.FirstId, lastId);
        Marks = Marks with
        {
            AcknowledgedThrough = lastId,
            DeadRows = Marks.DeadRows + rows,
            Depth = Marks.Depth - rows,
        };
        RefreshFirst();
    }

    /// <summary>Whether so few rows wait, and so many are dead, that <see cref="Reclaim"/> costs next to nothing.
    /// </summary>
    public bool IsCheapToReclaim => Marks.DeadRows >= 2 * FewRows && Marks.Depth <= FewRows;

    /// <summary>Takes delivered rows out of the file: all of them where that is cheap, else a piece.</summary>
    /// <returns>Whether there were any.</returns>
    public bool Reclaim()
    {
        if (Marks.DeadRows == 0)
            return false;
        if (IsCheapToReclaim)
        {
            Rewrite();
            return true;
        }
        var first = _connection.QueryNumber("SELECT min(id) FROM queue") ?? long.MaxValue;
        if (first > Marks.AcknowledgedThrough)
        {
            Marks = Marks with { DeadRows = 0 };
            return false;
        }
        var last = Math.Min(Marks.AcknowledgedThrough, first + DeletePieceRows - 1);
        if (last == Marks.LastId)
            KeepLastId();
        _delete.Bind(1, first).Bind(2, last).Run();
        Marks = Marks with
        {
            DeadRows = last == Marks.AcknowledgedThrough ? 0 : Math.Max(1, Marks.DeadRows - _connection.Changes()),
        };
        return true;
    }

    /// <summary>Takes all delivered rows out of the file, so that rows may come back at ids that lie among them.</summary>
    public void ForgetAcknowledged()
    {
        while (Reclaim())
        {
            // Bounded by what is left dead in the file.
        }
        Marks = Marks with { AcknowledgedThrough = 0 };
    }

    /// <summary>Rows were put in at ids that were given out before.</summary>
    public void TookOver(long readings, long deadLetters)
    {
        Marks = Marks with { Depth = Marks.Depth + readings, DeadLetters = Marks.DeadLetters + deadLetters };
        RefreshFirst();
    }

    /// <summary>Deletes the rows of an id range.</summary>
    /// <returns>How many there were.</returns>
    public int Delete(long firstId, long lastId)
    {
        _delete.Bind(1, firstId).Bind(2, lastId).Run();
        var deleted = _connection.Changes();
        if (deleted == 0)
            return 0;
        Marks = Marks with { Depth = Marks.Depth - deleted };
        if (lastId >= Marks.LastId)
            KeepLastId();
        return deleted;
    }

    /// <summary>Looks up the first row after rows were deleted or restored; once a transaction is enough.</summary>
    public void RefreshFirst()
    {
        Marks = _first.Bind(1, Marks.AcknowledgedThrough).Step()
            ? Marks with
            {
                FirstId = _first.Number(0),
                FirstRecordedAtMs = _first.Number(1),
                FirstClock = (int)_first.Number(2),
            }
            : Marks with { FirstId = Marks.LastId + 1, Depth = 0 };
        _first.Reset();
    }

    /// <summary>Pages of the database, and those of them that hold nothing.</summary>
    public (long Pages, long Free) CountPages()
    {
        var pages = _pageCount.Step() ? _pageCount.Number(0) : 0;
        _pageCount.Reset();
        var free = _freePages.Step() ? _freePages.Number(0) : 0;
        _freePages.Reset();
        return (pages, free);
    }

    public void Dispose()
    {
        _connection.Dispose();
        _cipher?.Dispose();
    }

    // DELETE without a condition frees the pages without writing them.
    void Rewrite()
    {
        var rows = new List<(long Id, long RecordedAtMs, int Clock, byte[] Payload, bool IsBlob)>();
        using (var query = _connection.PrepareOnce(
            "SELECT id, recorded_at, clock, payload FROM queue WHERE id > ?1 ORDER BY id"))
        {
            query.Bind(1, Marks.AcknowledgedThrough);
            while (query.Step())
            {
                rows.Add((query.Number(0), query.Number(1), (int)query.Number(2), query.Bytes(3).ToArray(),
                    query.IsBlob(3)));
            }
        }
        KeepLastId();
        _connection.Execute("DELETE FROM queue");
        Marks = Marks with { DeadRows = 0, Depth = 0 };
        foreach (var row in rows)
            Restore(row.Id, row.RecordedAtMs, row.Clock, row.Payload, row.IsBlob);
        RefreshFirst();
    }

    long Count(long firstId, long lastId)
    {
        using var query = _connection.PrepareOnce("SELECT count(*) FROM queue WHERE id BETWEEN ?1 AND ?2");
        return query.Bind(1, firstId).Bind(2, lastId).Step() ? query.Number(0) : 0;
    }

    // The highest row tells the next id at the next start, as long as it is there. Before it goes, its id is noted.
    void KeepLastId() => SetMeta("last_id", Marks.LastId);

    // Twice: a flipped bit here would make readings invisible, where anywhere else it is noticed or harmless.
    void SaveAcknowledged(long id)
    {
        SetMeta(AcknowledgedName, id);
        SetMeta(AcknowledgedCheckName, ~id);
    }

    QueueMarks ReadMarks()
    {
        var noted = _connection.QueryNumber("SELECT value FROM meta WHERE name = 'last_id'") ?? 0;
        var stored = _connection.QueryNumber("SELECT max(id) FROM queue") ?? 0;
        var refused = _connection.QueryNumber("SELECT max(id) FROM dead_letter") ?? 0;
        var acknowledged = _connection.QueryNumber($"SELECT value FROM meta WHERE name = '{AcknowledgedName}'") ?? 0;
        var check = _connection.QueryNumber($"SELECT value FROM meta WHERE name = '{AcknowledgedCheckName}'") ?? ~0L;
        var lowest = _connection.QueryNumber("SELECT min(id) FROM queue") ?? long.MaxValue;
        if (acknowledged != ~check)
            SaveAcknowledged(acknowledged = 0);
        Marks = new QueueMarks
        {
            LastId = Math.Max(Math.Max(noted, acknowledged), Math.Max(stored, refused)),
            AcknowledgedThrough = acknowledged,
            DeadRows = Math.Max(0, acknowledged - lowest + 1),
            DeadLetters = _connection.QueryNumber("SELECT count(*) FROM dead_letter") ?? 0,
        };
        RefreshFirst();
        _persistedHoles = _connection.QueryNumber("SELECT value FROM meta WHERE name = 'holes'") ?? 0;
        return stored <= acknowledged
            ? Marks
            : Marks with { Depth = Math.Max(1, Marks.LastId - Marks.FirstId + 1 - _persistedHoles) };
    }
}
