using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>Reads on a connection of its own, which sees whole transactions and never holds the writer up. Each call
/// ends its snapshot, so that the WAL can start over. Any thread, one at a time.</summary>
internal sealed class BatchReader : IDisposable
{
    const int SmallestArray = 4_096;

    // Up to here readings are delivered, or not to be shown yet. Damage can put a text there, which is above all ids.
    const string Shown = $"""
        max(?1,
            coalesce((SELECT value FROM meta
                WHERE name = '{QueueStore.AcknowledgedName}' AND typeof(value) = 'integer'), 0),
            coalesce((SELECT value FROM meta
                WHERE name = '{QueueStore.HiddenName}' AND typeof(value) = 'integer'), 0))
        """;

    readonly Lock _gate = new();
    readonly ReadingClock _clock;
    readonly Func<SqliteConnection> _open;
    readonly Action<string> _reportDamage;
    readonly PayloadCipher? _cipher;
    SqliteConnection? _connection;
    SqliteStatement _batch = null!;
    SqliteStatement _any = null!;
    SqliteStatement _ofSensor = null!;
    SqliteStatement _time = null!;
    SqliteStatement _deadLetters = null!;
    SqliteStatement _document = null!;
    SqliteStatement _note = null!;
    int _lastBytes = SmallestArray;
    bool _disposed;

    /// <param name="open">Opens a reading connection to the file that is in place.</param>
    /// <param name="reportDamage">Told when the file turns out to be damaged.</param>
    /// <param name="cipher">Unseals payloads; disposed with the reader.</param>
    public BatchReader(
        ReadingClock clock, Func<SqliteConnection> open, Action<string> reportDamage, PayloadCipher? cipher)
    {
        _cipher = cipher;
        _clock = clock;
        _open = open;
        _reportDamage = reportDamage;
        try
        {
            Connect();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public static BufferUnavailableException Unavailable(SqliteFailure failure) =>
        new($"the buffer can't be read now: {failure.Message}; try again", failure);

    /// <summary>The file was replaced: the next call opens the new one.</summary>
    public void Reconnect()
    {
        lock (_gate)
            Disconnect();
    }

    void Connect()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (_connection is not null)
            return;
        var connection = _open();
        _connection = connection;
        _batch = connection.Prepare(
            $"""
            SELECT id, recorded_at, clock, payload FROM queue
            WHERE id > {Shown} ORDER BY id LIMIT ?2
            """);
        _any = connection.Prepare(Any("recorded_at, clock, payload"));
        // The payload is as the encoder made it; what is sealed tells its sensor when it was unsealed.
        _ofSensor = connection.Prepare(Any(
            "recorded_at, clock, CASE WHEN typeof(payload) = 'blob' OR substr(payload, 1, length(?3)) = ?3 THEN "
            + "payload END"));
        _time = connection.Prepare(Any("recorded_at, clock"));
        _deadLetters = connection.Prepare("""
            SELECT id, recorded_at, clock, payload, reason, answer, refused_at FROM dead_letter
            WHERE id > ?1 ORDER BY id LIMIT ?2
            """);
        _document = connection.Prepare("SELECT content FROM document WHERE name = ?1");
        _note = connection.Prepare($"SELECT value FROM meta WHERE name = '{QueueStore.NoteName}'");
    }

    public IReadOnlyList<BufferedReading> PeekBatch(long afterId, int maxCount, int maxBytes) =>
        Read(() => ReadBatch(_batch, afterId, maxCount, maxBytes));

    /// <summary>Like <see cref="PeekBatch"/>, with readings that were delivered and are still in the file.</summary>
    public IReadOnlyList<BufferedReading> PeekAny(long afterId, int maxCount, int maxBytes) =>
        Read(() => ReadBatch(_any, afterId, maxCount, maxBytes));

    /// <summary>Those of one sensor among the rows that <see cref="PeekAny"/> finds, without the
    /// cost of the others.</summary>
    /// <param name="maxRows">Rows that are looked at at most, whosever they are.</param>
    public SensorRows PeekSensor(string sensor, long afterId, int maxRows, int maxBytes) => Read(() =>
    {
        _ofSensor.Bind(3, ReadingEncoder.BeginningOf(sensor));
        var looks = 0;
        var last = default((long Id, long RecordedAtMs, int Clock)?);
        var readings = ReadBatch(_ofSensor, afterId, maxRows, maxBytes, (id, recordedAtMs, clock) =>
        {
            looks++;
            last = (id, recordedAtMs, clock);
        });
        return new SensorRows(
            [.. readings.Where(reading => EvictionLedger.SensorOf(reading.Payload.Span) == sensor)], looks,
            last is var (id, recordedAtMs, clock) ? TimeOf(id, recordedAtMs, clock) : null);
    });

    /// <summary>Whether each row has to be unsealed to tell whose it is.</summary>
    public bool IsSealed => _cipher is not null;

    /// <summary>When the first reading after an id was recorded, and in which of <see cref="ClockStretches"/>; of those
    /// that <see cref="PeekAny"/> finds.</summary>
    public ReadingTime? PeekTime(long afterId) => Read(() =>
    {
        _time.Bind(1, afterId).Bind(2, 1);
        try
        {
            if (!_time.Step())
                return (ReadingTime?)null;
            return TimeOf(_time.Number(0), _time.Number(1), (int)_time.Number(2));
        }
        finally
        {
            _time.Reset();
        }
    });

    /// <inheritdoc cref="ReadingClock.Stretches"/>
    public IReadOnlyDictionary<int, int> ClockStretches() => _clock.Stretches();

    /// <summary>Readings that a batch could hold; reads an index of the whole queue.</summary>
    public long Count() => Read(() =>
    {
        using var query = _connection!.PrepareOnce($"SELECT count(*) FROM queue WHERE id > {Shown}");
        return query.Bind(1, 0).Step() ? query.Number(0) : 0;
    });

    /// <summary>Readings that <see cref="PeekAny"/> finds; reads an index of the whole file.</summary>
    public long CountAny() => Read(() => _connection!.QueryNumber("SELECT count(*) FROM queue") ?? 0);

    public IReadOnlyList<DeadLetter> ListDeadLetters(long afterId, int maxCount) =>
        Read(() => ReadDeadLetters(afterId, maxCount));

    public ReadOnlyMemory<byte>? LoadDocument(string name) => Read(() => ReadDocument(name));

    public string? LoadNote() => Read(ReadNote);

    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            Disconnect();
            _cipher?.Dispose();
        }
    }

    // Each half is in the order of ids by itself.
    static string Any(string columns) => $"""
        SELECT * FROM (SELECT id, {columns} FROM queue
            WHERE id > ?1 ORDER BY id LIMIT ?2)
        UNION ALL SELECT * FROM (SELECT id + {QueueStore.KeptOffset}, {columns} FROM queue
            WHERE id > ?1 - {QueueStore.KeptOffset} AND id < 0 ORDER BY id LIMIT ?2)
        ORDER BY 1 LIMIT ?2
        """;

    ReadingTime TimeOf(long id, long recordedAtMs, int clock) =>
        new(id, TimeRepair.Moment(recordedAtMs + (_clock.CorrectionMs(clock) ?? 0)), clock);

    // One that can't be unsealed was changed on the medium: a salvage drops it, and says so.
    ReadOnlySpan<byte> Plain(SqliteStatement row, long id)
    {
        if (!PayloadCipher.IsSealed(row.Bytes(3), row.IsBlob(3)))
            return row.Bytes(3);
        return _cipher?.Unseal(id, row.Bytes(3)) ?? throw new SqliteFailure(
            raw.SQLITE_CORRUPT, raw.SQLITE_CORRUPT, $"the payload of reading {id} is not as it was sealed");
    }

    string? PlainAnswer(SqliteStatement row, long id)
    {
        if (row.IsNull(5))
            return null;
        return row.IsBlob(5) && _cipher is not null ? _cipher.UnsealAnswer(id, row.Bytes(5)) : row.Text(5);
    }

    T Read<T>(Func<T> read)
    {
        lock (_gate)
        {
            try
            {
                Connect();
                return read();
            }
            catch (SqliteFailure failure)
            {
                Disconnect();
                if (failure.IsDamage)
                    _reportDamage(failure.Message);
                throw Unavailable(failure);
            }
        }
    }

    void Disconnect()
    {
        _connection?.Dispose();
        _connection = null;
    }

    // A row without a payload is seen, and no more.
    BufferedReading[] ReadBatch(
        SqliteStatement query, long afterId, int maxCount, int maxBytes, Action<long, long, int>? seen = null)
    {
        var rows = new List<(long Id, long RecordedAtMs, int End)>(Math.Min(maxCount, 1_024));
        var bytes = new byte[Math.Min(Math.Max(_lastBytes, SmallestArray), Math.Max(maxBytes, SmallestArray))];
        var used = 0;
        query.Bind(1, afterId).Bind(2, maxCount);
        try
        {
            while (query.Step())
            {
                if (seen is not null && query.IsNull(3))
                {
                    seen(query.Number(0), query.Number(1), (int)query.Number(2));
                    continue;
                }
                var payload = Plain(query, query.Number(0));
                // A repaired time keeps its length, but a mark on a doubtful one adds to it.
                var needed = payload.Length + TimeRepair.MaxAddedBytes;
                if (rows.Count > 0 && used + needed > maxBytes)
                    break;
                if (used + needed > bytes.Length)
                    Array.Resize(ref bytes, Math.Max(bytes.Length * 2, used + needed));
                var recordedAtMs = query.Number(1);
                used += TimeRepair.Copy(
                    payload, bytes.AsSpan(used), ref recordedAtMs, _clock.CorrectionMs((int)query.Number(2)));
                rows.Add((query.Number(0), recordedAtMs, used));
                seen?.Invoke(query.Number(0), query.Number(1), (int)query.Number(2));
            }
        }
        finally
        {
            query.Reset();
        }
        // The next batch is likely as large; a little more spares it the growing.
        _lastBytes = used + (used / 8);
        return Slice(rows, bytes);
    }

    List<DeadLetter> ReadDeadLetters(long afterId, int maxCount)
    {
        var letters = new List<DeadLetter>();
        _deadLetters.Bind(1, afterId).Bind(2, maxCount);
        try
        {
            while (_deadLetters.Step())
            {
                var recordedAtMs = _deadLetters.Number(1);
                var stored = Plain(_deadLetters, _deadLetters.Number(0));
                var payload = new byte[stored.Length + TimeRepair.MaxAddedBytes];
                var length = TimeRepair.Copy(
                    stored, payload, ref recordedAtMs, _clock.CorrectionMs((int)_deadLetters.Number(2)));
                letters.Add(new DeadLetter(
                    _deadLetters.Number(0), TimeRepair.Moment(recordedAtMs), payload.AsMemory(0, length),
                    _deadLetters.Text(4), PlainAnswer(_deadLetters, _deadLetters.Number(0)),
                    TimeRepair.Moment(_deadLetters.Number(6))));
            }
        }
        finally
        {
            _deadLetters.Reset();
        }
        return letters;
    }

    ReadOnlyMemory<byte>? ReadDocument(string name)
    {
        _document.Bind(1, name);
        try
        {
            if (!_document.Step())
                return null;
            var stored = _document.Bytes(0);
            if (!PayloadCipher.IsSealedDocument(stored))
                return stored.ToArray();
            // One that can't be unsealed is as good as none: whoever saved it has a default.
            return _cipher?.UnsealDocument(name, stored) is { } document ? document : (ReadOnlyMemory<byte>?)null;
        }
        finally
        {
            _document.Reset();
        }
    }

    string? ReadNote()
    {
        try
        {
            return _note.Step() ? _note.Text(0) : null;
        }
        finally
        {
            _note.Reset();
        }
    }

    static BufferedReading[] Slice(List<(long Id, long RecordedAtMs, int End)> rows, byte[] bytes)
    {
        var readings = new BufferedReading[rows.Count];
        var start = 0;
        for (var i = 0; i < readings.Length; i++)
        {
            var (id, recordedAtMs, end) = rows[i];
            readings[i] = new BufferedReading(
                id, TimeRepair.Moment(recordedAtMs), bytes.AsMemory(start, end - start));
            start = end;
        }
        return readings;
    }
}
