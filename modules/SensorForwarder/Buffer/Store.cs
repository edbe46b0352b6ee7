using System.IO.Compression;
using Microsoft.Data.Sqlite;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>The state of the queue as of a transaction. Immutable; needs no access to the file.</summary>
/// <param name="FirstId">The lowest stored id; <c>State.LastId + 1</c> when nothing is stored.</param>
/// <param name="Oldest">The oldest waiting reading; null when none is waiting.</param>
internal sealed record StoreView(QueueState State, long FirstId, ReadingTime? Oldest, long DeadLetters, Epochs Epochs)
{
    /// <summary>Stored readings that are sent before all others; none of them is delivered.</summary>
    public IdSet Urgent { get; init; } = IdSet.Empty;

    /// <summary>First id of the segment whose row holds the state; 0: it is in <c>meta</c>.</summary>
    public long StateRow { get; init; }

    /// <summary>The highest clock segment that this process has saved; 0: none.</summary>
    public int SavedClock { get; init; }

    /// <summary>Delivered readings still in the file.</summary>
    public long Delivered => State.Stored - State.Waiting - State.HandedOver.Count;
}

/// <summary>Changes the database, one transaction at a time. Used by the writer's thread. <see cref="View"/> includes
/// the changes of the running transaction; <see cref="Rollback"/> reverts them. Members may throw
/// <see cref="SqliteException"/> and <see cref="DamagedSegmentException"/>.</summary>
internal sealed class Store : IDisposable
{
    /// <summary>Exclusive upper bound of ids: one reading per millisecond for 285,000 years.</summary>
    public const long MaxId = 1L << 53;

    // If the delivered set has more ranges than this, the segments that fragment it are rewritten.
    const int MaxRanges = 1_024;

    // Limit of the ranges of urgent ids. Beyond it the oldest are no longer urgent.
    const int MaxUrgentRanges = 256;

    // Text up to this size gets the better compression, which is cheap for little text and writes fewer pages.
    const int WellCompressedBytes = 16 << 10;

    readonly Cipher? _cipher;
    readonly DecodedSegments _decoded;
    readonly Statement _begin;
    readonly Statement _commit;
    readonly Statement _pageCount;
    readonly Statement _freePages;
    readonly List<(long FirstId, StoredReading[] Readings)> _added = []; // to be cached after the commit
    readonly List<IdRange> _changed = []; // to be removed from the cache after the commit
    StoreView _committed;
    readonly SegmentText _appending = new(); // empty: nothing to write
    bool _stateIsLost; // the running transaction deleted the row that held the state
    bool _oldestIsStale; // the running transaction changed which readings are waiting

    /// <param name="cipher">Disposed with the store; null: unencrypted.</param>
    /// <param name="epoch">The epoch of appended readings.</param>
    /// <param name="minLastId">The highest id that another file assigned: new ids start above it.</param>
    public Store(
        SqliteConnection connection, Cipher? cipher, string epoch, DecodedSegments decoded, long minLastId = 0)
    {
        Connection = connection;
        _cipher = cipher;
        _decoded = decoded;
        Meta = new Meta(connection, cipher);
        Segments = new Segments(connection, cipher);
        Records = new Records(connection, cipher);
        _begin = connection.Prepare("BEGIN IMMEDIATE");
        _commit = connection.Prepare("COMMIT");
        _pageCount = connection.Prepare("PRAGMA page_count");
        _freePages = connection.Prepare("PRAGMA freelist_count");
        View = _committed = new StoreView(
            QueueState.Empty, 1, null, Records.CountDeadLetters(), Records.LoadEpochs(epoch));
        LoadState(minLastId);
        _committed = View;
    }

    public SqliteConnection Connection { get; }

    public string Epoch => View.Epochs.Current;

    public Meta Meta { get; }

    public Segments Segments { get; }

    public Records Records { get; }

    /// <summary>As of the running or last transaction; without readings that are still being appended.</summary>
    public StoreView View { get; private set; }

    /// <summary>Compressed size / text size, a moving average over appended segments.</summary>
    public double Compression { get; private set; } = 1;

    /// <summary>Whether the running transaction changed <c>evicted</c>.</summary>
    public bool HasEvicted { get; set; }

    /// <summary>Segments appended since the last <see cref="DropDelivered"/>.</summary>
    public int AppendedSegments { get; private set; }

    /// <summary>The highest id assigned, including those of the running transaction.</summary>
    public long LastId => _appending.Count > 0 ? _appending.LastId : View.State.LastId;

    public void Begin()
    {
        _begin.Run();
        HasEvicted = false;
        _added.Clear();
        _changed.Clear();
    }

    public void Commit()
    {
        // Only once per transaction, since it may have to decode a segment.
        if (_oldestIsStale)
            UpdateOldest();
        var isAppending = _appending.Count > 0;
        if (isAppending)
            FlushAppended(isLast: true);
        if (_stateIsLost || (!isAppending && View.State != _committed.State))
            SaveState();
        if (!View.Urgent.IsEmpty)
            View = View with { Urgent = View.Urgent.Except(View.State.Delivered) };
        if (!View.Urgent.Equals(_committed.Urgent))
            Meta.Urgent = View.Urgent;
        _commit.Run();
        _committed = View;
        foreach (var range in _changed)
            _decoded.Forget(range.First, range.Last);
        foreach (var (firstId, readings) in _added)
            _decoded.Add(firstId, readings, _decoded.Generation);
        AppendedSegments += _added.Count;
        _added.Clear();
    }

    /// <summary>Rolls back the running transaction, if any. Never throws.</summary>
    public void Rollback()
    {
        View = _committed;
        _appending.Clear();
        _stateIsLost = false;
        _oldestIsStale = false;
        if (!Connection.IsInTransaction())
            return;
        try
        {
            Connection.Execute("ROLLBACK");
        }
        catch (SqliteException)
        {
            // After an I/O error SQLite has already rolled back.
        }
    }

    /// <summary>Adds a new reading under the next id. <see cref="Commit"/> writes it and adds it to <see cref="View"/>.
    /// </summary>
    public void Append(long recordedAtMs, int clock, ReadOnlySpan<byte> payload)
    {
        if (_appending.IsFull)
            FlushAppended(isLast: false);
        _appending.Add(LastId + 1, recordedAtMs, clock, payload);
    }

    /// <summary>Marks readings as urgent.</summary>
    public void AddUrgent(IdSet ids)
    {
        if (ids.IsEmpty)
            return;
        var urgent = View.Urgent.Union(ids);
        View = View with
        {
            Urgent = urgent.RangeCount <= MaxUrgentRanges
                ? urgent
                : IdSet.OfRanges(urgent.Skip(urgent.RangeCount - MaxUrgentRanges)),
        };
    }

    /// <summary>The readings of a segment, from the cache if possible.</summary>
    public StoredReading[] Read(Segment segment)
    {
        var known = IsChanged(segment.FirstId) ? null : _decoded.Find(segment);
        return known ?? Segments.Read(segment);
    }

    public void Deliver(IdSet ids)
    {
        var state = View.State;
        ids = ids.Intersect(IdSet.Of(1, state.LastId)).Except(state.Delivered);
        if (ids.IsEmpty)
            return;
        SetState(state with
        {
            Waiting = state.Waiting - OnlyStored(ids.Except(state.HandedOver)).Count,
            Delivered = state.Delivered.Union(ids),
            HandedOver = state.HandedOver.Except(ids),
        });
        if (View.State.Delivered.RangeCount > MaxRanges)
            Compact();
        _oldestIsStale = true;
    }

    /// <summary>Marks waiting readings as handed over.</summary>
    public void HandOver(IdSet ids)
    {
        var state = View.State;
        ids = OnlyStored(ids.Except(state.NotWaiting));
        SetState(state with { Waiting = state.Waiting - ids.Count, HandedOver = state.HandedOver.Union(ids) });
        _oldestIsStale = true;
    }

    /// <summary>Returns handed-over readings, and delivered ones still in the file, to waiting.</summary>
    /// <returns>The ids that changed.</returns>
    public IdSet GiveBack(IdSet ids)
    {
        var state = View.State;
        ids = OnlyStored(ids.Intersect(state.NotWaiting));
        SetState(state with
        {
            Waiting = state.Waiting + ids.Count,
            HandedOver = state.HandedOver.Except(ids),
            Delivered = state.Delivered.Except(ids),
        });
        _oldestIsStale = true;
        return ids;
    }

    /// <summary>Stores readings as waiting, under ids they had before; those already stored become waiting.</summary>
    /// <param name="readings">In order of ids, none above the highest id assigned.</param>
    /// <returns>The ids that were not in the file.</returns>
    public IdSet Restore(IReadOnlyList<StoredReading> readings)
    {
        if (readings.Count == 0)
            return IdSet.Empty;
        var ids = IdSet.Of(readings.Select(reading => reading.Id));
        var missing = new List<long>();
        for (var i = 0; i < readings.Count;)
        {
            var around = Segments.Find(readings[i].Id, MaxId, 1).Cast<Segment?>().FirstOrDefault();
            var isInside = around is { } segment && segment.FirstId <= readings[i].Id;
            var there = isInside ? Read(around!.Value) : [];
            var thereIds = there.Select(reading => reading.Id).ToHashSet();
            var end = isInside ? around!.Value.LastId : (around?.FirstId ?? MaxId) - 1;
            var piece = new List<StoredReading>();
            for (; i < readings.Count && readings[i].Id <= end && piece.Count < Segments.MaxReadings; i++)
            {
                if (!thereIds.Contains(readings[i].Id))
                    piece.Add(readings[i]);
            }
            missing.AddRange(piece.Select(reading => reading.Id));
            if (piece.Count == 0)
                continue;
            if (isInside)
                DeleteRow(around!.Value);
            Write([.. there.Concat(piece).OrderBy(reading => reading.Id)], around?.Level ?? 0);
        }
        var state = View.State;
        var wasDelivered = ids.Except(IdSet.Of(missing)).Intersect(state.NotWaiting);
        SetState(state with
        {
            Stored = state.Stored + missing.Count,
            Waiting = state.Waiting + missing.Count + wasDelivered.Count,
            Delivered = state.Delivered.Except(ids),
            HandedOver = state.HandedOver.Except(ids),
        });
        View = View with { FirstId = Math.Min(View.FirstId, readings[0].Id) };
        AddUrgent(IdSet.Of(readings.Where(reading => AlarmReport.IsIn(reading.Payload.Span)).Select(r => r.Id)));
        _oldestIsStale = true;
        return IdSet.Of(missing);
    }

    /// <summary>Replaces neighbouring segments by segments with the readings to keep, better compressed.</summary>
    /// <param name="readings">All readings of the segments, in order of ids.</param>
    /// <param name="kept">The readings to keep, in the same order.</param>
    public void Rewrite(
        IReadOnlyList<Segment> segments, IReadOnlyList<StoredReading> readings, IReadOnlyList<StoredReading> kept,
        int level)
    {
        foreach (var segment in segments)
            DeleteRow(segment);
        Write(kept, level);
        if (kept.Count == readings.Count)
            return;
        // An id that is in no segment needs no state.
        var state = View.State;
        var range = IdSet.Of(segments[0].FirstId, segments[^1].LastId);
        var keptIds = IdSet.Of(kept.Select(reading => reading.Id));
        var gone = IdSet.Of(readings.Select(reading => reading.Id)).Except(keptIds);
        SetState(state with
        {
            Stored = state.Stored - gone.Count,
            Waiting = state.Waiting - gone.Except(state.NotWaiting).Count,
            Delivered = state.Delivered.Except(range).Union(state.Delivered.Intersect(keptIds)),
            HandedOver = state.HandedOver.Except(gone),
        });
        View = View with { Urgent = View.Urgent.Except(gone) };
        UpdateFirstId();
        _oldestIsStale = true;
    }

    /// <summary>Deletes segments that are delivered entirely, oldest first.</summary>
    /// <param name="maxReadings">Limit on the readings of the segments changed; at least one segment is
    /// changed.</param>
    /// <param name="canDrop">Asked for each segment; the first false ends the deletion. Null: always true.</param>
    /// <param name="rewritesPartial">Also remove delivered readings from segments that hold others.</param>
    /// <returns>The number of readings deleted.</returns>
    public long DropDelivered(long maxReadings, Func<Segment, bool>? canDrop = null, bool rewritesPartial = false)
    {
        AppendedSegments = 0;
        var before = View.State.Stored;
        var readings = 0L;
        var candidates = View.State.Delivered.Intersect(IdSet.Of(View.FirstId, View.State.LastId)).SelectMany(
            range => Segments.Find(range.First, range.Last, Segments.MaxReadings),
            (range, segment) => (segment, segment.FirstId >= range.First && segment.LastId <= range.Last));
        foreach (var (segment, isWhole) in candidates)
        {
            if (!isWhole && !rewritesPartial)
                continue;
            if ((readings > 0 && readings + segment.Readings > maxReadings) || canDrop?.Invoke(segment) == false)
                break;
            readings += segment.Readings;
            if (isWhole)
            {
                DeleteRow(segment);
                SetState(View.State with { Stored = View.State.Stored - segment.Readings });
                continue;
            }
            RemoveDelivered(segment);
        }
        if (readings > 0)
            UpdateFirstId();
        return before - View.State.Stored;
    }

    /// <summary>Replaces a damaged segment by its readable readings.</summary>
    /// <returns>The segment as its row described it, and the number of waiting readings lost; null when the segment is
    /// gone or intact.</returns>
    public (Segment Segment, long Lost)? RepairSegment(long firstId)
    {
        if (Segments.Find(firstId, firstId, 1) is not [var segment] || segment.FirstId != firstId)
            return null;
        try
        {
            if (Segments.Read(segment).Length > 0)
                return null;
        }
        catch (DamagedSegmentException)
        {
            // Damaged, as reported.
        }
        var readings = Segments.ReadDamaged(firstId);
        var before = View.State.Waiting;
        DeleteRow(segment);
        Write(readings, segment.Level);
        UpdateFirstId();
        Recount();
        _oldestIsStale = true;
        return (segment, Math.Max(0, before - View.State.Waiting));
    }

    public void SetState(QueueState state) => View = View with { State = state };

    public void DeadLettersChanged() => View = View with { DeadLetters = Records.CountDeadLetters() };

    public bool MoveToDeadLetters(long id, string reason, string? answer, long refusedAtMs)
    {
        if (View.State.NotWaiting.Contains(id) || Segments.Find(id, id, 1) is not [var segment]
            || Array.Find(Read(segment), reading => reading.Id == id) is not { Id: > 0 } reading)
        {
            return false;
        }
        Records.AddDeadLetter(reading, reason, answer, refusedAtMs);
        Deliver(IdSet.Of(id, id));
        DeadLettersChanged();
        return true;
    }

    /// <summary>Adds a payload that was never stored as a reading to the dead letters, under the next id.</summary>
    public void AddDeadLetter(
        long recordedAtMs, int clock, ReadOnlyMemory<byte> payload, string reason, string? answer, long refusedAtMs)
    {
        if (_appending.Count > 0)
            FlushAppended(isLast: false);
        var id = LastId + 1;
        BeginEpoch(id);
        Records.AddDeadLetter(new(id, recordedAtMs, clock, payload), reason, answer, refusedAtMs);
        SetState(View.State with { LastId = id });
        View = View with { FirstId = LowestId() };
        Deliver(IdSet.Of(id, id));
        DeadLettersChanged();
    }

    /// <summary>Returns the oldest dead letters to waiting.</summary>
    /// <returns>The number of dead letters returned.</returns>
    public int ReturnDeadLetters(int maxCount, long maxBytes)
    {
        var letters = Records.ReadDeadLetters(0, maxCount, maxBytes);
        if (letters.Count == 0)
        {
            // Dead letters that are left can't be unsealed.
            Records.RemoveDeadLetters(MaxId);
            DeadLettersChanged();
            return 0;
        }
        Restore([.. letters.Select(letter => letter.Reading)]);
        Records.RemoveDeadLetters(letters[^1].Reading.Id);
        DeadLettersChanged();
        return letters.Count;
    }

    /// <summary>Deletes the oldest dead letters.</summary>
    /// <returns>The number of dead letters deleted.</returns>
    public int DeleteDeadLetters(int count)
    {
        var deleted = Records.RemoveDeadLetters(Records.DeadLetterAt(count));
        DeadLettersChanged();
        return deleted;
    }

    /// <summary>Writes new clock segments, before the readings of this transaction that refer to them.</summary>
    /// <param name="segments">In order of ids.</param>
    public void SaveClocks(IReadOnlyList<ClockSegment> segments)
    {
        if (segments.Count == 0 || segments[^1].Id == View.SavedClock)
            return;
        foreach (var segment in segments.Where(segment => segment.Id > View.SavedClock))
            Records.SaveClock(segment);
        View = View with { SavedClock = segments[^1].Id };
    }

    /// <summary>The number of pages of the database, and how many of them are free.</summary>
    public (long Pages, long Free) CountPages()
    {
        var pages = _pageCount.Step() ? _pageCount.Number(0) : 0;
        _pageCount.Reset();
        var free = _freePages.Step() ? _freePages.Number(0) : 0;
        _freePages.Reset();
        return (pages, free);
    }

    public long UsedBytes => CountPages() is var (pages, free) ? (pages - free) * Schema.PageBytes : 0;

    public void Dispose()
    {
        Segments.Dispose();
        foreach (var statement in (Statement[])[_begin, _commit, _pageCount, _freePages])
            statement.Dispose();
        Connection.Dispose();
        _cipher?.Dispose();
    }

    void FlushAppended(bool isLast)
    {
        var text = _appending;
        var state = View.State;
        View = View with
        {
            State = state with
            {
                Sequence = state.Sequence + 1,
                LastId = text.LastId,
                Stored = state.Stored + text.Count,
                Waiting = state.Waiting + text.Count,
            },
        };
        BeginEpoch(text.FirstId);
        var readings = text.Parse();
        if (View.Oldest is null)
            View = View with { Oldest = TimeOf(readings[0]) };
        var compression = text.Bytes <= WellCompressedBytes ? CompressionLevel.Optimal : CompressionLevel.Fastest;
        var bytes = Segments.Insert(text, level: 0, compression, isLast ? View.State : null);
        Compression = (Compression * 3 / 4) + ((double)bytes / text.Bytes / 4);
        _added.Add((text.FirstId, readings));
        if (isLast)
            SetStateRow(text.FirstId);
        text.Clear();
    }

    // Records the epoch with the first id that this process assigns.
    void BeginEpoch(long id)
    {
        if (View.Epochs.HasCurrent)
            return;
        Records.SaveEpoch(id, Epoch);
        View = View with { Epochs = View.Epochs.WithCurrentFrom(id) };
    }

    void SaveState()
    {
        View = View with { State = View.State with { Sequence = View.State.Sequence + 1 } };
        Meta.State = View.State;
        SetStateRow(0);
    }

    void SetStateRow(long row)
    {
        View = View with { StateRow = row };
        _stateIsLost = false;
    }

    void DeleteRow(Segment segment)
    {
        Segments.Delete(segment.FirstId);
        _changed.Add(new(segment.FirstId, segment.LastId));
        _stateIsLost |= segment.FirstId == View.StateRow;
    }

    void Write(IReadOnlyList<StoredReading> readings, int level)
    {
        for (var i = 0; i < readings.Count;)
        {
            var text = new SegmentText();
            do
            {
                var reading = readings[i++];
                text.Add(reading.Id, reading.RecordedAtMs, reading.Clock, reading.Payload.Span);
            }
            while (i < readings.Count && !text.IsFull);
            Segments.Insert(text, level, CompressionLevel.Optimal, state: null);
            _changed.Add(new(text.FirstId, text.LastId));
        }
    }

    bool IsChanged(long firstId) => _changed.Exists(range => range.First <= firstId && range.Last >= firstId);

    void UpdateFirstId()
    {
        var state = View.State;
        var first = LowestId();
        View = View with
        {
            FirstId = first,
            State = state with
            {
                // All readings below are deleted. A salvage that still finds their pages must not send them again.
                Delivered = state.Delivered.Union(IdSet.Of(1, first - 1)),
                HandedOver = state.HandedOver.Except(IdSet.Of(1, first - 1)),
            },
        };
        if (first > _committed.FirstId)
            Records.PruneEpochs(first);
    }

    long LowestId() =>
        Segments.Find(1, MaxId, 1) is [var segment] ? segment.FirstId : View.State.LastId + 1;

    static ReadingTime TimeOf(StoredReading reading) =>
        new(reading.Id, TimeRepair.Moment(reading.RecordedAtMs), reading.Clock);

    void UpdateOldest()
    {
        var (state, first) = (View.State, View.FirstId);
        var notWaiting = state.NotWaiting;
        ReadingTime? oldest = null;
        for (var id = notWaiting.FirstMissingFrom(first); state.Waiting > 0 && oldest is null && id <= state.LastId;)
        {
            if (Segments.Find(id, MaxId, 1) is not [var segment])
                break;
            try
            {
                if (Array.Find(Read(segment), r => r.Id >= id && !notWaiting.Contains(r.Id)) is { Id: > 0 } reading)
                    oldest = TimeOf(reading);
            }
            catch (DamagedSegmentException)
            {
                // The writer repairs the segment when a reader reports it.
                oldest = new(id, TimeRepair.Moment(segment.NewestAtMs), 0);
            }
            id = notWaiting.FirstMissingFrom(segment.LastId + 1);
        }
        View = View with { Oldest = oldest };
        _oldestIsStale = false;
    }

    IdSet OnlyStored(IdSet ids)
    {
        var (first, state) = (View.FirstId, View.State);
        ids = ids.Intersect(IdSet.Of(first, state.LastId));
        if (state.Stored == state.LastId - first + 1)
            return ids;
        var stored = new List<IdRange>();
        foreach (var range in ids)
        {
            foreach (var segment in Segments.Find(range.First, range.Last))
            {
                if (segment.IsDense)
                    stored.Add(new(segment.FirstId, segment.LastId));
                else
                    stored.AddRange(Read(segment).Select(reading => new IdRange(reading.Id, reading.Id)));
            }
        }
        return ids.Intersect(IdSet.OfRanges(stored));
    }

    // Rewrites the segments whose delivered readings are not contiguous.
    void Compact()
    {
        foreach (var segment in Segments.Find(View.FirstId, MaxId))
        {
            var delivered = View.State.Delivered.Intersect(IdSet.Of(segment.FirstId, segment.LastId));
            if (delivered.RangeCount <= 1)
                continue;
            RemoveDelivered(segment);
            if (View.State.Delivered.RangeCount <= MaxRanges / 2)
                return;
        }
    }

    void RemoveDelivered(Segment segment)
    {
        var (readings, delivered) = (Read(segment), View.State.Delivered);
        Rewrite([segment], readings, [.. readings.Where(reading => !delivered.Contains(reading.Id))], segment.Level);
    }

    void LoadState(long minLastId)
    {
        var newest = Segments.Newest();
        var refused = Records.LastDeadLetterId();
        var fromMeta = Meta.State;
        var (fromRow, row) = NewestRowState(newest);
        var state = fromMeta?.Sequence > (fromRow?.Sequence ?? -1) ? fromMeta : fromRow;
        View = View with { StateRow = state == fromMeta ? 0 : row };
        var isKnown = state is not null && state.LastId >= (newest?.LastId ?? 0);
        var lastId = Math.Max(newest is { } last && !isKnown ? LastGiven(last) : newest?.LastId ?? 0, refused);
        // New readings would get ids beyond the limit, which are never read.
        if (lastId >= MaxId || state?.LastId >= MaxId)
            throw Sqlite.Damage($"id {Math.Max(lastId, state?.LastId ?? 0)} is beyond the limit of ids");
        state ??= QueueState.Empty;
        View = View with { State = state with { LastId = Math.Max(Math.Max(state.LastId, lastId), minLastId) } };
        View = View with { FirstId = LowestId() };
        View = View with
        {
            Urgent = Meta.Urgent.Intersect(IdSet.Of(View.FirstId, View.State.LastId)).Except(View.State.Delivered),
        };
        if (!isKnown && newest is not null)
            Recount();
        UpdateOldest();
    }

    // A damaged row may understate its last id, and no id may be assigned twice.
    long LastGiven(Segment segment)
    {
        try
        {
            Segments.Read(segment);
            return segment.LastId;
        }
        catch (DamagedSegmentException)
        {
            return Math.Max(segment.LastId, segment.FirstId + Segments.MaxReadings - 1);
        }
    }

    // The row written last has a state, unless it was rewritten since; then the state in meta is newer.
    (QueueState? State, long Row) NewestRowState(Segment? newest)
    {
        if (newest is null)
            return (null, 0);
        using var query = Connection.Prepare(
            "SELECT state, first_id FROM segment WHERE state IS NOT NULL ORDER BY first_id DESC LIMIT 64");
        while (query.Step())
        {
            if (Meta.ReadState(query, 0, _cipher) is { } state)
                return (state, query.Number(1));
        }
        return (null, 0);
    }

    // Recomputes the counts, when those of the state can't be right. Whether the handed-over readings were delivered is
    // unknown then: they are sent again.
    void Recount()
    {
        var delivered = View.State.Delivered;
        long stored = 0, waiting = 0;
        foreach (var segment in Segments.Find(1, MaxId))
        {
            stored += segment.Readings;
            var all = IdSet.Of(segment.FirstId, segment.LastId);
            try
            {
                waiting += segment.IsDense
                    ? all.Except(delivered).Count
                    : all.Intersect(delivered).IsEmpty ? segment.Readings
                    : Segments.Read(segment).Count(reading => !delivered.Contains(reading.Id));
            }
            catch (DamagedSegmentException)
            {
                // Counted again when the segment is repaired.
            }
        }
        SetState(View.State with { Stored = stored, Waiting = waiting, HandedOver = IdSet.Empty });
    }
}
