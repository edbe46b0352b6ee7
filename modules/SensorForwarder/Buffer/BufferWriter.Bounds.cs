namespace SensorForwarder.Buffer;

/// <summary>The part of the writer that keeps the buffer within its bounds: takes delivered rows out, evicts, refuses,
/// gives space back.</summary>
internal sealed partial class BufferWriter
{
    // What a delivered row is taken to cost, and how many are left in the file in idle times.
    const int AssumedRowBytes = 180;
    const int KeptDeadRows = 4_096;

    static readonly TimeSpan AgeCheckInterval = TimeSpan.FromSeconds(30);

    long _ageCheckedAt;

    // How full the buffer was when it had given readings up the last time, and of what.
    double _fillAfterGivingUp;
    long _boundAtGivingUp;

    /// <summary>Whether new readings are refused because the bound is reached.</summary>
    public bool IsRejecting { get; private set; }

    public static BufferRejectedException Rejection() =>
        new("the buffer has reached bufferMaxMegabytes, and whenFull is rejectNew");

    /// <param name="bytes">Payloads of the readings that are to be stored.</param>
    /// <param name="readings">How many those are.</param>
    /// <param name="keptBytes">What takes only the place of delivered rows, and never that of rows that wait.</param>
    /// <returns>Whether the readings can be taken; if not, they are to be refused.</returns>
    bool MakeRoom(StorageBudget budget, long bytes, int readings, long keptBytes)
    {
        var store = _store!;
        var limits = _limits;
        if (!Evictor.IsOver(store, budget, bytes + keptBytes, readings))
            return true;
        // Room for more than this transaction, so that eviction comes in pieces and not with every commit.
        var ahead = bytes + (budget.DatabaseBytes / 64);
        while (store.Marks.DeadRows > 0 && Evictor.IsOver(store, budget, ahead + keptBytes, readings)
            && Transact(ReclaimForRoom))
        {
            _upkeep.AfterCommit(store, budget);
        }
        if (!Evictor.IsOver(store, budget, bytes, readings))
            return true;
        if (limits.WhenFull == WhenFull.RejectNew)
        {
            // What brings no readings needs little room, and says nothing of theirs.
            if (readings == 0)
                return true;
            GiveUp(budget);
            IsRejecting = true;
            return false;
        }
        var gone = 0;
        while (store.Marks.Depth > 0 && Evictor.IsOver(store, budget, ahead, readings))
        {
            var piece = limits.WhenFull == WhenFull.Thin ? Transact(Evictor.Thin) : 0;
            if (piece == 0)
                piece = Transact(Evictor.DropOldest);
            if (piece == 0)
                break;
            gone += piece;
            _ledger.Reload(store);
            _upkeep.AfterCommit(store, budget);
        }
        if (gone > 0)
            GiveUp(budget);
        return true;
    }

    // Told once, however often it comes: a buffer may stay at its bound for months.
    void GiveUp(StorageBudget budget)
    {
        var limits = _limits;
        (_fillAfterGivingUp, _boundAtGivingUp) = (FillOf(budget), limits.MaxBytes);
        if (Snapshot.GivesUp == limits.WhenFull)
            return;
        Snapshot = Snapshot with { GivesUp = limits.WhenFull };
        Log.GivesUp(_logger, limits.MaxBytes >> 20, BufferStatus.Describe(limits.WhenFull));
    }

    // Giving up itself leaves it so full; when it is clearly less, readings were delivered. Another bound
    // is looked at by itself.
    void EndGivingUp()
    {
        if (Snapshot.GivesUp is null || IsRejecting)
            return;
        var before = _limits.MaxBytes == _boundAtGivingUp ? _fillAfterGivingUp : 1;
        if (FillOf(StorageBudget.Of(_limits)) > before * 7 / 8)
            return;
        Snapshot = Snapshot with { GivesUp = null };
        Log.HasRoomAgain(_logger);
    }

    // The part of the database's share that rows take that wait; those that were delivered give way to any.
    double FillOf(StorageBudget budget)
    {
        var (marks, (pages, free)) = (_store!.Marks, _store.CountPages());
        return (double)(pages - free) * BufferSchema.PageBytes / budget.DatabaseBytes * marks.Depth
            / Math.Max(1, marks.Depth + marks.DeadRows);
    }

    void Reject(List<IntakeGroup> groups)
    {
        foreach (var group in groups)
        {
            for (var i = group.GivenUp; i < group.Count; i++)
                _ledger.Note(EvictionLedger.Rejected, EvictionLedger.SensorOf(group.Payload(i, out _, out _)));
        }
        _intake.Done(groups);
        groups.ForEach(g => g.Fail(Rejection()));
        groups.Clear();
    }

    // By themselves, since they need next to no room: what waits to be stored may not fit for long.
    void AcknowledgeOnFullVolume(StorageBudget budget)
    {
        var store = _store!;
        var (acknowledgements, _) = _requests.Take(withCommands: false);
        try
        {
            Transact(store => Acknowledge(store, acknowledgements, keeps: false), isProof: false);
        }
        catch
        {
            _requests.Return(acknowledgements, []);
            throw;
        }
        Snapshot = Snapshot with { Marks = store.Marks };
        acknowledgements.ForEach(a => a.Completion.TrySetResult());
        ReclaimOnFullVolume(store);
        _upkeep.AfterCommit(store, budget);
    }

    // At once, as long as there is the room that the reserve has left: a database that has to grow could not. Deleting
    // takes a little room itself, which may not be there; what waits is tried in any case.
    void ReclaimOnFullVolume(QueueStore store)
    {
        try
        {
            while (store.Marks.DeadRows > 0 && StorageUpkeep.HasFewFreePages(store)
                && Transact(store => store.IsCheapToReclaim
                    ? ReclaimForRoom(store)
                    : ReclaimPiece(store), isProof: false))
            {
                StorageUpkeep.TryCopyBack(store);
            }
        }
        catch (SqliteFailure failure) when (!failure.IsDamage)
        {
            // Something else on the volume has to go.
        }
    }

    // Takes delivered rows out where that is cheap, or where they take more than their share.
    void Reclaim()
    {
        if (IsRetaining)
            return;
        var mostDeadRows = Math.Max(64L << 20, _limits.MaxBytes / 4) / AssumedRowBytes;
        while (_store!.IsCheapToReclaim || _store.Marks.DeadRows > mostDeadRows)
        {
            Transact(static store => store.ReclaimAll());
            _upkeep.AfterCommit(_store, StorageBudget.Of(_limits));
        }
    }

    // A little more room than one reading needs, so that it does not flap.
    void EndRejecting()
    {
        var budget = StorageBudget.Of(_limits);
        while (IsRejecting && _store!.Marks.DeadRows > 0 && IsStillFull() && Transact(ReclaimForRoom))
            _upkeep.AfterCommit(_store, budget);
        IsRejecting = IsRejecting && _limits.WhenFull == WhenFull.RejectNew && IsStillFull();

        bool IsStillFull() => Evictor.IsOver(_store!, budget, budget.DatabaseBytes / 64, 1);
    }

    void Expire()
    {
        var maxAge = _limits.MaxAge;
        if (maxAge <= TimeSpan.Zero || _timeProvider.GetElapsedTime(_ageCheckedAt) < AgeCheckInterval)
            return;
        _ageCheckedAt = _timeProvider.GetTimestamp();
        var store = _store!;
        while (store.Marks.Depth > 0
            && _clock.Age(store.Marks.FirstRecordedAtMs, store.Marks.FirstClock) > maxAge
            && Transact(store => _evictor.Expire(store, maxAge)) > 0)
        {
            _ledger.Reload(store);
            Snapshot = Snapshot with { Marks = store.Marks };
            _upkeep.AfterCommit(store, StorageBudget.Of(_limits));
        }
    }

    /// <returns>Whether there is more to do.</returns>
    bool WorkWhenIdle()
    {
        var store = _store!;
        if (!IsRetaining && store.Marks.DeadRows > KeptDeadRows && Transact(static store => store.ReclaimAll()))
            return true;
        var budget = StorageBudget.Of(_limits);
        if (Transact(store => StorageUpkeep.GiveSpaceBack(store, budget)))
        {
            // The pages leave the file when the WAL is copied back.
            _upkeep.CopyBack(store, budget);
            return true;
        }
        _upkeep.WhenIdle(store);
        return false;
    }
}
