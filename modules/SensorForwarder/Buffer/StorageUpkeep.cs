using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>Keeps the WAL short, gives space back to the volume, and holds the reserve. Owned by the writer's thread.
/// </summary>
internal sealed class StorageUpkeep(VolumeFiles files, TimeProvider timeProvider)
{
    // sqlite3.h: reports the state of the WAL and does nothing.
    const int CheckpointNoop = -1;
    const int WalFrameBytes = BufferSchema.PageBytes + 24;

    // Free pages that are kept for the next readings, and how many are given back in one transaction.
    const int KeptFreePages = 256;
    const int VacuumStepPages = 512;

    static readonly TimeSpan IdleAfter = TimeSpan.FromSeconds(30);
    static readonly TimeSpan PatienceWithReaders = TimeSpan.FromSeconds(2);
    static readonly TimeSpan ReserveRetry = TimeSpan.FromMinutes(1);

    long _lastCheckpointFrames;
    long? _lastForced;
    long? _reserveTriedAt;
    bool _idleDone = true;
    bool _reserveGivenUp;
    long _lastWriteAt;

    /// <summary>When the next idle work is due; null when there is none.</summary>
    public TimeSpan? IdleWorkIn()
    {
        if (_idleDone)
            return null;
        var left = IdleAfter - timeProvider.GetElapsedTime(_lastWriteAt);
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    /// <summary>After each transaction that changed the queue.</summary>
    public void AfterCommit(QueueStore store, StorageBudget budget)
    {
        _lastWriteAt = timeProvider.GetTimestamp();
        _idleDone = false;
        CopyBack(store, budget);
    }

    /// <summary>Copies the WAL back when it has reached half its share.</summary>
    public void CopyBack(QueueStore store, StorageBudget budget)
    {
        store.Connection.Checkpoint(CheckpointNoop, out var frames);
        var limit = budget.WalBytes / 2 / WalFrameBytes;
        // A reader that holds an old snapshot keeps the WAL from starting over; then it is copied piece by piece.
        if (frames < _lastCheckpointFrames)
            _lastCheckpointFrames = 0;
        if (frames - _lastCheckpointFrames < limit)
            return;
        store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_PASSIVE, out frames);
        _lastCheckpointFrames = frames;
        if (frames >= 4 * limit)
            Force(store);
        else if (frames < 2 * limit)
            _lastCheckpointFrames = 0;
    }

    /// <summary>Copies back what fits on a full volume. Never throws.</summary>
    public static void TryCopyBack(QueueStore store)
    {
        try
        {
            store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_PASSIVE, out _);
        }
        catch (SqliteFailure)
        {
            // No room for that either; the next attempt comes.
        }
    }

    /// <summary>What is done when nothing was written for a while.</summary>
    public void WhenIdle(QueueStore store)
    {
        store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_TRUNCATE, out _);
        _lastCheckpointFrames = 0;
        _idleDone = true;
    }

    /// <summary>Gives a piece of the free space back to the volume, when most of the file is free or the file is larger
    /// than its share.</summary>
    /// <returns>Whether there is more to do.</returns>
    public static bool GiveSpaceBack(QueueStore store, StorageBudget budget)
    {
        var (pages, free) = store.CountPages();
        var isTooLarge = pages * BufferSchema.PageBytes > budget.DatabaseBytes;
        if (free == 0 || (!isTooLarge && (free <= KeptFreePages || free < pages / 2)))
            return false;
        store.Connection.Execute(
            $"PRAGMA incremental_vacuum({Math.Min(VacuumStepPages, isTooLarge ? free : free - KeptFreePages)})");
        return true;
    }

    /// <summary>Whether little of the file can take new readings without the file growing.</summary>
    public static bool HasFewFreePages(QueueStore store) => store.CountPages().Free < KeptFreePages;

    /// <summary>When the reserve is to be made; null when it is there.</summary>
    public TimeSpan? ReserveIn(StorageBudget budget)
    {
        if (VolumeFiles.Length(files.Reserve) == budget.ReserveBytes)
            return null;
        var left = _reserveTriedAt is { } tried ? ReserveRetry - timeProvider.GetElapsedTime(tried) : TimeSpan.Zero;
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    /// <summary>Whether the room that is left on the volume is what the reserve gave back: it is for deletions, and for
    /// the log, which can only start over while the database needs not grow.</summary>
    public bool IsReserveInUse(StorageBudget budget) => _reserveGivenUp && files.FreeBytes < budget.ReserveBytes;

    /// <summary>Makes the reserve when it is due, unless the volume is nearly full.</summary>
    public void KeepReserve(StorageBudget budget)
    {
        if (ReserveIn(budget) != TimeSpan.Zero)
            return;
        _reserveTriedAt = timeProvider.GetTimestamp();
        try
        {
            if (files.FreeBytes <= 4L * budget.ReserveBytes)
                return;
            files.WriteReserve(budget.ReserveBytes);
            _reserveGivenUp = false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            DropReserve();
        }
    }

    /// <summary>Gives the reserve up, so that deletes can commit on a full volume.</summary>
    /// <returns>Whether there was one.</returns>
    public bool DropReserve()
    {
        _reserveTriedAt = timeProvider.GetTimestamp();
        try
        {
            if (!File.Exists(files.Reserve))
                return false;
            files.Delete(files.Reserve);
            _reserveGivenUp = true;
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Bytes of all files, and of the WAL.</summary>
    public (long Total, long Wal) Measure()
    {
        var wal = VolumeFiles.Length(files.Wal);
        return (VolumeFiles.Length(files.Database) + wal + VolumeFiles.Length(files.SharedMemory)
            + VolumeFiles.Length(files.Reserve), wal);
    }

    // New readers of a WAL that is copied back in full read from the database alone, so waiting for the old ones is
    // bounded by the longest of them; nothing is written meanwhile, and readings wait in the ring.
    void Force(QueueStore store)
    {
        if (_lastForced is { } last && timeProvider.GetElapsedTime(last) < PatienceWithReaders * 5)
            return;
        _lastForced = timeProvider.GetTimestamp();
        raw.sqlite3_busy_timeout(store.Connection.Handle, (int)PatienceWithReaders.TotalMilliseconds);
        try
        {
            if (store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_TRUNCATE, out _))
                _lastCheckpointFrames = 0;
        }
        finally
        {
            raw.sqlite3_busy_timeout(store.Connection.Handle, 250);
        }
    }
}
