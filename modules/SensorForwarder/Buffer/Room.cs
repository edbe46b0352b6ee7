using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Buffer;

/// <summary>Makes room for new readings: drops delivered ones, merges, and then thins, drops or refuses as
/// <see cref="WhenFull"/> says. Logs each episode once. Runs on the writer's thread; the properties are thread-safe.
/// </summary>
/// <param name="findBudget">Returns the current shares of the files.</param>
/// <param name="transact">Runs a change in a separate transaction.</param>
internal sealed class Room(
    ReadingClock clock, EvictionLedger ledger, Upkeep upkeep, Func<BufferLimits> limits,
    Func<StorageBudget> findBudget, Func<Func<Store, long>, long> transact, TimeProvider timeProvider, ILogger logger)
{
    static readonly TimeSpan CheckInterval = TimeSpan.FromSeconds(30);

    // Delivered readings dropped per transaction, and how many may remain while the buffer is idle.
    const long DroppedReadings = 20_000;
    const long KeptDelivered = 4_096;

    // Delivered readings are dropped in the transaction of a commit when this many segments were appended, so that
    // a commit rarely does it; merges are limited per commit.
    const int DropAtSegments = 64;
    const int MergesWithCommit = 8;

    // Readings that have waited this long are likely to wait much longer, and are worth merging.
    static readonly TimeSpan MergedAfter = TimeSpan.FromMinutes(2);

    // The highest id at some past times, and the highest id that is older than MergedAfter.
    readonly Queue<(long At, long LastId)> _recent = new();
    long _mergeThroughId;
    long _checkedAt = timeProvider.GetTimestamp();

    // Fill level and MaxBytes after the last eviction, to recognise that there is clearly more room.
    double _fillAfterEviction;
    long _maxBytesAtEviction;
    volatile bool _isRejecting;
    volatile object? _fullAction; // a boxed WhenFull, since an enum? can't be volatile
    volatile string _bound = "its limit";

    /// <summary>Whether new readings are refused because the buffer is full.</summary>
    public bool IsRejecting => _isRejecting;

    /// <summary>What the buffer does because it is full; null: it is not full.</summary>
    public WhenFull? FullAction => (WhenFull?)_fullAction;

    /// <summary>The limit that was reached, for messages.</summary>
    public string Bound => _bound;

    /// <summary>When ages must be checked again; null when no setting depends on them.</summary>
    public TimeSpan? CheckIn => limits().MaxAge > TimeSpan.Zero || IsRetaining ? CheckInterval : null;

    bool IsRetaining => limits().RetainForwarded > TimeSpan.Zero;

    public static BufferRejectedException Rejection() =>
        new("the buffer is full, and whenFull is rejectNew");

    /// <summary>Called when a file was opened: all of its readings may be merged.</summary>
    public void Opened(Store store)
    {
        _recent.Clear();
        _mergeThroughId = store.LastId;
    }

    /// <summary>Maintenance in the transaction of a commit.</summary>
    /// <param name="acknowledged">How many readings the transaction marks as delivered or handed over.</param>
    public void WithCommit(Store store, StorageBudget budget, long acknowledged)
    {
        if (!IsRetaining && (store.AppendedSegments >= DropAtSegments || store.View.Delivered > KeptDelivered))
            store.DropDelivered(DroppedReadings);
        TrackAges(store);
        if (store.View.State.Waiting == 0 && !IsRetaining)
            return;
        // While a backlog drains, the next readings to merge are usually those that are delivered next.
        if (acknowledged > Segments.MaxReadings && !IsRetaining)
            return;
        var merges = Math.Min(MergesWithCommit, budget.TransactionBytes / (16 << 10));
        while (merges-- > 0 && Bounds.Merge(store, _mergeThroughId, limits().RetainForwarded))
        {
            // Bounded per commit, and enough to keep up with new segments.
        }
    }

    /// <summary>Makes room for readings that are about to be stored.</summary>
    /// <param name="bytes">Their payload bytes.</param>
    /// <param name="readings">Their number.</param>
    /// <returns>False: the buffer is full and the readings must be refused.</returns>
    public bool Make(Store store, StorageBudget budget, long bytes, int readings)
    {
        if (!Bounds.IsOver(store, budget, bytes, readings))
            return true;
        // Room for more than this transaction, so that not every commit has to make room.
        var ahead = bytes + (budget.DatabaseBytes / 64);
        while (Bounds.IsOver(store, budget, ahead, readings) && DropForRoom() > 0)
            upkeep.AfterCommit(store, budget);
        if (!Bounds.IsOver(store, budget, bytes, readings))
            return true;
        while (Bounds.IsOver(store, budget, ahead, readings) && Merge() > 0)
            upkeep.AfterCommit(store, budget);
        if (!Bounds.IsOver(store, budget, bytes, readings))
            return true;
        var whenFull = limits().WhenFull;
        if (whenFull == WhenFull.RejectNew)
        {
            // A transaction without readings needs little room and is never refused.
            if (readings == 0)
                return true;
            ReportFull(store, budget);
            _isRejecting = true;
            return false;
        }
        var gone = 0L;
        while (store.View.Delivered + store.View.State.Waiting > 0 && Bounds.IsOver(store, budget, ahead, readings))
        {
            var piece = whenFull == WhenFull.Thin ? transact(store => Bounds.Thin(store)) : 0;
            if (piece == 0)
                piece = transact(store => Bounds.DropOldest(store));
            if (piece == 0)
                break;
            gone += piece;
            ledger.Reload(store);
            upkeep.AfterCommit(store, budget);
        }
        if (gone > 0)
            ReportFull(store, budget);
        return true;

        long DropForRoom() => store.View.Delivered == 0 ? 0 : transact(
            store => store.DropDelivered(
                IsRetaining ? 4 * Segments.MaxReadings : DroppedReadings, rewritesPartial: true));

        long Merge() => transact(store => Bounds.Merge(store, store.LastId, limits().RetainForwarded) ? 1 : 0);
    }

    /// <summary>Drops delivered readings on a full volume, to get free pages: the database can't grow. The deletion
    /// itself writes to the WAL, for which the reserve left room.</summary>
    public void DropOnFullVolume(Store store)
    {
        try
        {
            while (store.View.Delivered > 0 && Upkeep.HasFewFreePages(store) && Drop(store) > 0)
                Upkeep.TryCheckpoint(store);
        }
        catch (SqliteException failure) when (!failure.IsDamage())
        {
            // The WAL has no room for the deletion: a person has to free space on the volume.
        }
    }

    /// <summary>Ends the refusal of readings, and the episode of a full buffer, when there is room for a full
    /// transaction: with less, the next burst would be refused again at once.</summary>
    public void UpdateFullState(Store store)
    {
        var budget = findBudget();
        while (_isRejecting && IsStillFull() && Drop(store) > 0)
            upkeep.AfterCommit(store, budget);
        _isRejecting = _isRejecting && limits().WhenFull == WhenFull.RejectNew && IsStillFull();
        ReportRoom(store, budget);

        bool IsStillFull() =>
            Bounds.IsOver(store, budget, Math.Max(budget.DatabaseBytes / 64, budget.TransactionBytes), 1);
    }

    /// <summary>Drops readings older than <see cref="BufferLimits.MaxAge"/>, and delivered ones older than
    /// <see cref="BufferLimits.RetainForwarded"/>.</summary>
    public void DropTooOld(Store store)
    {
        if (CheckIn is null || timeProvider.GetElapsedTime(_checkedAt) < CheckInterval)
            return;
        _checkedAt = timeProvider.GetTimestamp();
        var (maxAge, retain) = (limits().MaxAge, limits().RetainForwarded);
        while (maxAge > TimeSpan.Zero && store.View.Oldest is { } oldest
            && clock.Age(oldest.RecordedAt.ToUnixTimeMilliseconds(), oldest.Clock) > maxAge
            && transact(store => Bounds.Expire(store, clock, maxAge)) > 0)
        {
            ledger.Reload(store);
            upkeep.AfterCommit(store, findBudget());
        }
        // Deletes an eighth of the retention time at once: fewer, larger deletions write fewer pages.
        var atLeast = retain / 8 * 9;
        while (retain > TimeSpan.Zero && transact(store => store.DropDelivered(DroppedReadings, IsOver)) > 0)
            upkeep.AfterCommit(store, findBudget());

        bool IsOver(Segment segment)
        {
            var newest = store.Read(segment)[^1];
            var isOver = clock.Age(newest.RecordedAtMs, newest.Clock) > atLeast;
            if (isOver)
                atLeast = retain;
            return isOver;
        }
    }

    /// <summary>Drops delivered readings while the buffer is idle.</summary>
    /// <returns>Whether there is more to do.</returns>
    public bool WorkWhenIdle(Store store) =>
        !IsRetaining && store.View.Delivered > KeptDelivered && Drop(store) > 0;

    long Drop(Store store) =>
        store.View.Delivered == 0 ? 0 : transact(store => store.DropDelivered(DroppedReadings));

    // Advances the id up to which readings are old enough to be merged.
    void TrackAges(Store store)
    {
        var now = timeProvider.GetTimestamp();
        if (_recent.Count == 0 || timeProvider.GetElapsedTime(_recent.Last().At, now) > MergedAfter / 8)
            _recent.Enqueue((now, store.LastId));
        while (_recent.TryPeek(out var oldest) && timeProvider.GetElapsedTime(oldest.At, now) > MergedAfter)
            _mergeThroughId = _recent.Dequeue().LastId;
    }

    // Logged once per episode; a full buffer can stay full for months.
    void ReportFull(Store store, StorageBudget budget)
    {
        var current = limits();
        (_fillAfterEviction, _maxBytesAtEviction) = (FillOf(store, budget), current.MaxBytes);
        if (FullAction == current.WhenFull)
            return;
        _fullAction = current.WhenFull;
        // The volume may be too full to use all of bufferMaxMegabytes.
        _bound = budget.DatabaseBytes < StorageBudget.Of(current).DatabaseBytes
            ? $"the {current.KeepFreeBytes >> 20} MB to keep free on the volume (bufferKeepFreeMegabytes)"
            : $"its limit of {current.MaxBytes >> 20} MB";
        BufferLog.BufferFull(logger, _bound, BufferStatus.Describe(current.WhenFull));
    }

    // Eviction leaves the fill level _fillAfterEviction; a clearly lower one shows that readings were delivered. After
    // a change of MaxBytes the level is compared with a full buffer instead.
    void ReportRoom(Store store, StorageBudget budget)
    {
        if (_fullAction is null || _isRejecting)
            return;
        var before = limits().MaxBytes == _maxBytesAtEviction ? _fillAfterEviction : 1;
        if (FillOf(store, budget) > before * 7 / 8)
            return;
        _fullAction = null;
        BufferLog.HasRoomAgain(logger);
    }

    // The part of the database's share used by undelivered readings; delivered ones are dropped to make room anyway.
    static double FillOf(Store store, StorageBudget budget)
    {
        var (pages, free) = store.CountPages();
        var state = store.View.State;
        return (double)(pages - free) * Schema.PageBytes / budget.DatabaseBytes * (state.Stored - store.View.Delivered)
            / Math.Max(1, state.Stored);
    }
}
