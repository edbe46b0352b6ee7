using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging;
using SensorForwarder.Readings;
using SensorForwarder.Time;
using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>The objects that <see cref="TelemetryBuffer"/> creates and shares with the writer.</summary>
internal sealed record WriterParts(
    Ring Ring, Requests Requests, ReadingClock Clock, EvictionLedger Ledger, Upkeep Upkeep, StorageHealth Health,
    DatabaseFile File);

/// <summary>The queue and the writer's counters as of the last commit. Immutable.</summary>
/// <param name="UsedBytes">Bytes of the database's used pages.</param>
/// <param name="Bytes">Payload bytes committed since the buffer was opened.</param>
internal sealed record WriterSnapshot(StoreView View, long UsedBytes, long Commits, long Readings, long Bytes);

/// <summary>
/// The writer thread, which owns the only writing connection. Takes pending readings, acknowledgements, documents and
/// commands, commits and syncs them as one transaction, then completes the callers' tasks. Between transactions it
/// evicts readings and maintains the files. While the volume is not writable it retries; pending work keeps its order.
/// Public members are thread-safe; private ones run on the writer thread.
/// </summary>
internal sealed class Writer : IDisposable
{
    // Minimum share of the database, even when bufferKeepFreeMegabytes leaves less.
    const long MinDatabaseBytes = 256 << 10;

    // A command runs after the readings enqueued before it; this limits how long newer readings can delay it.
    const int MaxPiecesBeforeCommands = 64;

    readonly Ring _ring;
    readonly Requests _requests;
    readonly ReadingClock _clock;
    readonly EvictionLedger _ledger;
    readonly Upkeep _upkeep;
    readonly StorageHealth _health;
    readonly DatabaseFile _file;
    readonly Room _room;
    readonly TimeProvider _timeProvider;
    readonly ILogger _logger;
    readonly Alarm _alarm;
    readonly Thread _thread;

    // Committed, but not reported yet: the sync failed or its callers are being completed.
    readonly List<Piece> _unsynced = [];
    bool _isUncertain; // a transaction was committed whose sync has not succeeded

    OpenedStore? _opened;
    volatile DamageReport? _damage;
    volatile BufferLimits _limits;
    volatile bool _stopping;
    volatile WriterSnapshot _snapshot;
    long _turns;

    /// <summary>The content of one transaction.</summary>
    sealed record Piece(
        List<RingGroup> Groups, List<Acknowledgement> Acknowledgements, List<WriterCommand> Commands,
        Dictionary<string, ReadOnlyMemory<byte>> Documents)
    {
        public long FirstId { get; set; }

        public long LastId { get; set; }

        /// <summary>COMMIT succeeded: the piece must not be written to this file again, even if the sync fails.
        /// </summary>
        public bool IsCommitted { get; set; }

        public long Bytes => Groups.Sum(group => group.Bytes);

        public int Readings => Groups.Sum(group => group.Count);
    }

    /// <param name="Generation">The <see cref="DatabaseFile.Generation"/> in which the damage was seen.</param>
    /// <param name="FirstId">The first id of the damaged segment; null: the file itself is damaged.</param>
    sealed record DamageReport(string What, int Generation, long? FirstId);

    public Writer(OpenedStore opened, WriterParts parts, BufferLimits limits, TimeProvider timeProvider, ILogger logger)
    {
        (_ring, _requests, _clock, _ledger, _upkeep, _health, _file) = parts;
        _opened = opened;
        _limits = TakeLimits(limits);
        _timeProvider = timeProvider;
        _logger = logger;
        _room = new Room(
            _clock, _ledger, _upkeep, () => _limits, Budget, change => Transact(change), timeProvider, logger);
        _room.Opened(opened.Store);
        _alarm = new Alarm(timeProvider);
        _ledger.Reload(opened.Store);
        _snapshot = new WriterSnapshot(opened.Store.View, opened.Store.UsedBytes, 0, 0, 0);
        _thread = new Thread(Run) { Name = "buffer writer", IsBackground = true };
    }

    /// <summary>As of the last commit.</summary>
    public WriterSnapshot Snapshot => _snapshot;

    /// <summary>Raised on the writer's thread after each commit that added readings.</summary>
    public Action? Committed { get; set; }

    /// <summary>Called on the writer's thread with the duration of each commit.</summary>
    public Action<TimeSpan>? CommitTook { get; set; }

    /// <summary>Raised on the writer's thread when another file was opened.</summary>
    public Action? Replaced { get; set; }

    /// <summary>Iterations of the loop; increases after each <see cref="Wake"/>.</summary>
    public long Turns => Volatile.Read(ref _turns);

    public BufferLimits Limits => _limits;

    public bool IsRejecting => _room.IsRejecting;

    public WhenFull? FullAction => _room.FullAction;

    /// <inheritdoc cref="Room.Bound"/>
    public string Bound => _room.Bound;

    public void Start() => _thread.Start();

    public void Wake() => _alarm.Wake();

    public void ApplyLimits(BufferLimits limits)
    {
        _limits = TakeLimits(limits);
        Wake();
    }

    /// <summary>Reports damage; the writer repairs the segment or replaces the file before its next write. Ignored if
    /// another file is open by then. Any thread.</summary>
    /// <param name="generation">The <see cref="DatabaseFile.Generation"/> in which the damage was seen.</param>
    public void ReportDamage(Exception failure, int generation)
    {
        _damage = new(failure.Message, generation, (failure as DamagedSegmentException)?.FirstId);
        Wake();
    }

    /// <summary>Commits everything pending, closes the connection and ends the thread.</summary>
    public void Dispose()
    {
        _stopping = true;
        Wake();
        _thread.Join();
        _alarm.Dispose();
    }

    BufferLimits TakeLimits(BufferLimits limits)
    {
        limits = _file.Files.CapToVolume(limits);
        _ring.MaxGroupBytes = StorageBudget.Of(limits).TransactionBytes;
        return limits;
    }

    void Run()
    {
        while (!_stopping)
        {
            var wait = WorkSafely();
            Volatile.Write(ref _turns, _turns + 1);
            if (_stopping || wait == TimeSpan.Zero)
                continue;
            _alarm.Sleep(wait);
        }
        Finish();
    }

    // Catches everything: the next attempt starts from the state in the file.
    TimeSpan? WorkSafely()
    {
        try
        {
            return Work();
        }
        catch (Exception e)
        {
            HandleFailure(e);
            return _health.RetryIn();
        }
    }

    /// <returns>When to run again; null: only after <see cref="Wake"/>.</returns>
    TimeSpan? Work()
    {
        if (_health.RetryIn() is var retry && retry > TimeSpan.Zero)
            return retry;
        var store = Reopen();
        CompleteUnsynced(store);
        if (CommitIn() == TimeSpan.Zero)
            CommitWaiting(store);
        else if (!_health.IsOk)
            Probe(store);
        _room.UpdateFullState(store);
        _room.DropTooOld(store);
        _snapshot = _snapshot with { View = store.View, UsedBytes = store.UsedBytes };
        var budget = Budget();
        _upkeep.KeepReserve(budget);
        if (_upkeep.IdleWorkIn() == TimeSpan.Zero && (_room.WorkWhenIdle(store) || _upkeep.WhenIdle(store, budget)))
            return TimeSpan.Zero;
        return Earliest(CommitIn(), _upkeep.IdleWorkIn(), _upkeep.ReserveIn(budget), _room.CheckIn);
    }

    // Returns the open store; replaces a damaged or lost file first.
    Store Reopen()
    {
        var damage = _damage;
        if (damage?.Generation != _file.Generation)
            damage = null;
        if (_opened is { } opened && (damage?.FirstId is { } firstId))
        {
            RepairSegment(opened.Store, firstId);
            damage = null;
        }
        if (_opened?.Files.FindLost() is { } lost)
        {
            BufferLog.FileLost(_logger, lost, _file.Files.Directory);
            _file.KeepLost(_opened, lost);
            Close();
        }
        else if (damage is not null)
        {
            Close();
        }
        if (_opened is null)
        {
            _opened = _file.Open(damage?.What, _snapshot.View.State.LastId);
            var store = _opened.Store;
            _room.Opened(store);
            _ledger.Reload(store);
            _snapshot = _snapshot with { View = store.View };
            Replaced?.Invoke();
        }
        _damage = null;
        return _opened.Store;
    }

    void RepairSegment(Store store, long firstId)
    {
        var repaired = Transact(store =>
        {
            var result = store.RepairSegment(firstId);
            if (result is (var segment, > 0 and var lost))
            {
                EvictionLedger.Add(
                    store, EvictionLedger.Damaged, new Dictionary<string, long> { ["?"] = lost }, segment.FirstId,
                    segment.LastId);
            }
            return result;
        });
        _snapshot = _snapshot with { View = store.View };
        _ledger.Reload(store);
        if (repaired is var (row, gone))
            BufferLog.SegmentDamaged(_logger, _file.Files.Database, row.FirstId, row.LastId, gone);
    }

    /// <returns>When the next transaction is due; null when nothing is pending.</returns>
    TimeSpan? CommitIn()
    {
        var interval = _limits.CommitInterval;
        return Earliest(_requests.CommitIn(interval), _ring.CommitIn(interval));
    }

    void CommitWaiting(Store store)
    {
        var budget = Budget();
        if (_health.State == StorageState.Full)
            AcknowledgeOnFullVolume(store, budget);
        for (var number = 1; ; number++)
        {
            // Read before the acknowledgements are taken, so that the note is never newer than they are.
            var note = _requests.Note?.Invoke();
            var groups = _ring.Take(budget.TransactionBytes);
            var isLast = number >= MaxPiecesBeforeCommands || _ring.IsEmpty;
            var (acknowledgements, commands) = _requests.Take(withCommands: isLast);
            // Documents are taken last, so that they are never older than the readings of the transaction.
            var piece = new Piece(groups, acknowledgements, commands, _requests.TakeDocuments());
            try
            {
                if (_upkeep.IsReserveInUse(budget) && !Bounds.FitsFreePages(store, piece.Bytes, piece.Readings))
                    throw new SqliteException("free space is kept for deletions", raw.SQLITE_FULL, raw.SQLITE_FULL);
                if (!_room.Make(store, budget, piece.Bytes, piece.Readings))
                    Reject(groups);
                Commit(store, piece, note, budget);
            }
            catch when (!piece.IsCommitted)
            {
                Return(piece);
                throw;
            }
            _upkeep.AfterCommit(store, budget);
            _opened!.Files.KeepLogAhead(_upkeep.LogBytes, budget.WalBytes / 2);
            if (isLast)
                return;
        }
    }

    void Commit(Store store, Piece piece, string? note, StorageBudget budget)
    {
        var began = _timeProvider.GetTimestamp();
        Transact(store =>
        {
            store.SaveClocks(_clock.Segments);
            var isLeaving = piece.Acknowledgements.Count > 0;
            foreach (var acknowledgement in piece.Acknowledgements)
                Apply(store, acknowledgement);
            foreach (var (name, document) in piece.Documents)
                store.Records.SaveDocument(name, document.Span);
            foreach (var command in piece.Commands)
                command.Run(store);
            if (note is not null && note != store.View.State.Note)
                store.SetState(store.View.State with { Note = note });
            piece.FirstId = store.LastId + 1;
            foreach (var group in piece.Groups)
                Append(store, group);
            piece.LastId = store.LastId;
            if (isLeaving && _ledger.HasUnannounced)
                EvictionLedger.Announce(store, _timeProvider.GetUtcNow(), _clock.Current().Id);
            _ledger.WriteNoted(store);
            if (_health.IsOk)
                _room.WithCommit(store, budget, piece.Acknowledgements.Sum(change => change.Ids.Count));
            return true;
        }, piece);
        Succeeded();
        CommitTook?.Invoke(_timeProvider.GetElapsedTime(began));
        _ledger.NotedWritten();
        if (_opened!.Files.FindLost() is { } lost)
            throw new IOException(lost);
        Complete(store);
        if (store.HasEvicted)
            _ledger.Reload(store);
    }

    static void Apply(Store store, Acknowledgement acknowledgement)
    {
        switch (acknowledgement.Change)
        {
            case StateChange.HandedOver:
                store.HandOver(acknowledgement.Ids);
                break;
            case StateChange.GivenBack:
                store.GiveBack(acknowledgement.Ids);
                break;
            default:
                store.Deliver(acknowledgement.Ids);
                break;
        }
    }

    static void Append(Store store, RingGroup group)
    {
        foreach (var reading in group.Readings)
            store.Append(reading.RecordedAtMs, reading.Clock, reading.Payload);
        foreach (var (name, content) in group.Documents ?? [])
            store.Records.SaveDocument(name, content.Span);
        if (group.IsUrgent)
            store.AddUrgent(IdSet.Of(store.LastId - group.Count + 1, store.LastId));
    }

    // After a failed fdatasync Linux marks the pages clean, so a second one would succeed without writing them.
    // Therefore a checkpoint copies the WAL into the database and syncs the database instead.
    void CompleteUnsynced(Store store)
    {
        if (!_isUncertain && _unsynced.Count == 0)
            return;
        if (_unsynced.Count > 0 && _unsynced[^1].LastId > store.LastId)
        {
            // Another file was opened, without these readings, which were never reported: store them again.
            for (var i = _unsynced.Count - 1; i >= 0; i--)
                Return(_unsynced[i]);
            _unsynced.Clear();
            _isUncertain = false;
            return;
        }
        if (!store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_TRUNCATE, out _))
            throw new SqliteException("a reader keeps the WAL in use", raw.SQLITE_BUSY, raw.SQLITE_BUSY);
        _isUncertain = false;
        Succeeded();
        Complete(store);
        _ledger.Reload(store);
    }

    void Complete(Store store)
    {
        foreach (var piece in _unsynced.ToList())
        {
            var (before, readings) = (_snapshot, piece.Readings);
            _snapshot = before with
            {
                View = store.View,
                Commits = before.Commits + 1,
                Readings = before.Readings + readings,
                Bytes = before.Bytes + piece.Bytes,
            };
            _unsynced.Remove(piece);
            _ring.Done(piece.Groups);
            var firstId = piece.FirstId;
            foreach (var group in piece.Groups)
            {
                group.Commit(firstId);
                firstId += group.Count;
            }
            if (readings > 0)
                Committed?.Invoke();
            _requests.Done(piece.Acknowledgements);
            piece.Acknowledgements.ForEach(a => a.Completion.TrySetResult());
            piece.Commands.ForEach(c => c.Complete());
        }
    }

    void Return(Piece piece)
    {
        _ring.Return(piece.Groups);
        _requests.Return(piece.Acknowledgements, piece.Commands, piece.Documents);
    }

    void Reject(List<RingGroup> groups)
    {
        foreach (var group in groups.Where(group => !group.IsRequest))
        {
            foreach (var reading in group.Readings)
                _ledger.Note(EvictionLedger.Rejected, EvictionLedger.SensorOf(reading.Payload));
        }
        _ring.Done(groups);
        groups.ForEach(g => g.Fail(Room.Rejection()));
        groups.Clear();
    }

    // Commits acknowledgements alone: they need little room, while readings may not fit for a long time.
    void AcknowledgeOnFullVolume(Store store, StorageBudget budget)
    {
        var (acknowledgements, _) = _requests.Take(withCommands: false);
        var piece = new Piece([], acknowledgements, [], []) { LastId = store.LastId };
        try
        {
            Transact(store =>
            {
                acknowledgements.ForEach(a => Apply(store, a));
                return true;
            }, piece);
        }
        catch when (!piece.IsCommitted)
        {
            Return(piece);
            throw;
        }
        var commits = _snapshot.Commits;
        Complete(store);
        _snapshot = _snapshot with { Commits = commits };
        _room.DropOnFullVolume(store);
        _upkeep.AfterCommit(store, budget);
    }

    // A small write after a failure, which shows whether the volume is writable again even if nothing is pending.
    void Probe(Store store)
    {
        Transact(static store =>
        {
            store.Meta.Probe();
            return true;
        });
        Succeeded();
        _upkeep.AfterCommit(store, Budget());
    }

    // Each transaction is synced before the next one is written. So a power cut can leave only the last one incomplete,
    // and a WAL with an earlier invalid transaction is known to be damaged (WalFile.HasDamage).
    T Transact<T>(Func<Store, T> change, Piece? piece = null)
    {
        var (store, files) = _opened!;
        store.Begin();
        T result;
        try
        {
            result = change(store);
            store.Commit();
        }
        catch
        {
            store.Rollback();
            throw;
        }
        if (piece is not null)
        {
            piece.IsCommitted = true;
            _unsynced.Add(piece);
        }
        _isUncertain = true;
        files.Sync();
        _isUncertain = false;
        return result;
    }

    // bufferKeepFreeMegabytes reduces only the database's share: WAL and reserve keep their lengths.
    StorageBudget Budget()
    {
        var limits = _limits;
        var budget = StorageBudget.Of(limits);
        if (limits.KeepFreeBytes == 0)
            return budget;
        var others = limits.MaxBytes - budget.DatabaseBytes;
        var room = _upkeep.Measure().Total + _file.Files.FreeBytes - limits.KeepFreeBytes - others;
        return budget with { DatabaseBytes = Math.Min(budget.DatabaseBytes, Math.Max(room, MinDatabaseBytes)) };
    }

    void Succeeded()
    {
        if (_health.Succeeded())
            BufferLog.StorageIsBack(_logger);
    }

    void HandleFailure(Exception failure)
    {
        if (failure is DamagedSegmentException || (failure is SqliteException sqlite
            && (sqlite.IsDamage() || (_opened is not null && _file.IsLastingBadBlock(sqlite)))))
        {
            ReportDamage(failure, _file.Generation);
        }
        if (failure is DamagedSegmentException)
            return;
        if (_health.Failed(failure))
            BufferLog.StorageFailed(_logger, _health.State, _health.Reason!);
        if (_health.State == StorageState.Full)
        {
            if (_upkeep.DropReserve())
                BufferLog.ReserveDeleted(_logger);
            // After a checkpoint the WAL is overwritten from its start and needs no more room.
            if (_opened is { } opened)
                Upkeep.TryCheckpoint(opened.Store);
        }
        // The connection may refer to a file that was unmounted or replaced.
        if (_health.Failures >= 3 && _health.State is not StorageState.Full and not StorageState.Busy)
            Close();
    }

    void Close()
    {
        _opened?.Dispose();
        _opened = null;
    }

    void Finish()
    {
        var closed = new BufferUnavailableException("the buffer was closed");
        _ring.Close(closed);
        _requests.Close(closed);
        try
        {
            var store = Reopen();
            CompleteUnsynced(store);
            if (!_ring.IsEmpty || _requests.CommitIn(TimeSpan.Zero) is not null
                || (_requests.Note?.Invoke() is { } note && note != store.View.State.Note) || _ledger.HasNoted)
            {
                CommitWaiting(store);
            }
            Upkeep.BeforeClosing(store);
        }
        catch (Exception e)
        {
            BufferLog.LastCommitFailed(_logger, e.Message);
        }
        var lost = _ring.FailAll(closed);
        foreach (var piece in _unsynced)
        {
            lost += piece.Readings;
            piece.Groups.ForEach(g => g.Fail(closed));
            piece.Acknowledgements.ForEach(a => a.Completion.TrySetException(closed));
            piece.Commands.ForEach(c => c.Fail(closed));
        }
        _requests.FailAll(closed);
        if (lost > 0)
            BufferLog.LostAtClose(_logger, lost);
        _health.Closed();
        Close();
    }

    static TimeSpan? Earliest(params ReadOnlySpan<TimeSpan?> times)
    {
        TimeSpan? earliest = null;
        foreach (var time in times)
        {
            if (time is { } t && (earliest is not { } e || t < e))
                earliest = t < TimeSpan.Zero ? TimeSpan.Zero : t;
        }
        return earliest;
    }
}
