using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>The tables, as the writer changes them: SQL and the marks that go with it. Owned by the writer's thread.
/// Everything throws <see cref="SqliteFailure"/>; after one, <see cref="Rollback"/>.</summary>
internal sealed partial class QueueStore : IDisposable
{
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
    readonly SqliteStatement _keepOvertaker;
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

    /// <param name="cipher">Seals payloads, answers and documents; null stores them plain.
    /// Disposed with the store.</param>
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
        _keepOvertaker = connection.Prepare(
            $"UPDATE OR REPLACE queue SET id = id - {KeptOffset} WHERE id BETWEEN ?1 AND ?2");
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
        if (acknowledged != ~check)
            SaveAcknowledged(acknowledged = 0);
        var lastId = Math.Max(Math.Max(noted, acknowledged), Math.Max(stored, refused));
        // The next readings would get ids that no reader looks at.
        if (lastId >= SalvagedRecords.MaxId)
            throw new SqliteFailure(raw.SQLITE_CORRUPT, raw.SQLITE_CORRUPT, $"id {lastId} was never given out");
        Marks = new QueueMarks
        {
            LastId = lastId,
            AcknowledgedThrough = acknowledged,
            DeadRows = EstimateDeadRows(acknowledged),
            DeadLetters = _connection.QueryNumber("SELECT count(*) FROM dead_letter") ?? 0,
        };
        RefreshFirst();
        _persistedHoles = _connection.QueryNumber("SELECT value FROM meta WHERE name = 'holes'") ?? 0;
        return stored <= acknowledged
            ? Marks
            : Marks with { Depth = Math.Max(1, Marks.LastId - Marks.FirstId + 1 - _persistedHoles) };
    }
}
