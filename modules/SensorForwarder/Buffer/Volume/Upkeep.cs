using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>Checkpoints the WAL, returns free space to the volume (VACUUM), and keeps the reserve file. Owned by the
/// writer's thread.</summary>
internal sealed class Upkeep(VolumeFiles files, TimeProvider timeProvider)
{
    // SQLITE_CHECKPOINT_NOOP: only reports the number of frames.
    const int CheckpointNoop = -1;
    const int WalFrameBytes = Schema.PageBytes + 24;

    // On a full volume, delivered readings are dropped until this many pages are free.
    const int KeptFreePages = 256;

    // VACUUM runs in memory (temp_store), so the remaining data must be small.
    const long MaxVacuumBytes = 32L << 20;

    // Pages: a smaller file is not worth a VACUUM.
    const int KeptPages = 2_048;

    static readonly TimeSpan IdleAfter = TimeSpan.FromSeconds(30);
    static readonly TimeSpan PatienceWithReaders = TimeSpan.FromSeconds(2);
    static readonly TimeSpan ReserveRetry = TimeSpan.FromMinutes(1);

    // The first commit should not wait for the reserve, which takes an SD card most of a second.
    static readonly TimeSpan FirstReserve = TimeSpan.FromSeconds(5);

    readonly long _openedAt = timeProvider.GetTimestamp();
    bool _hasCommitted;
    long _lastCheckpointFrames;
    long? _lastForced;
    long? _reserveTriedAt;
    bool _idleDone = true;
    bool _isReserveMissing = !File.Exists(files.Reserve);
    long _lastWriteAt;

    /// <summary>Bytes of the WAL up to the last frame, as of the last transaction.</summary>
    public long LogBytes { get; private set; }

    /// <summary>The time until the idle work is due; null when it is done.</summary>
    public TimeSpan? IdleWorkIn()
    {
        if (_idleDone)
            return null;
        var left = IdleAfter - timeProvider.GetElapsedTime(_lastWriteAt);
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    /// <summary>Called after each transaction that changed the queue. Checkpoints the WAL when it has reached half its
    /// share.</summary>
    public void AfterCommit(Store store, StorageBudget budget)
    {
        _lastWriteAt = timeProvider.GetTimestamp();
        _hasCommitted = true;
        _idleDone = false;
        store.Connection.Checkpoint(CheckpointNoop, out var frames);
        LogBytes = frames * WalFrameBytes;
        var limit = (budget.WalBytes - StorageBudget.LargestTransactionBytes) / 2 / WalFrameBytes;
        // While a reader keeps an old snapshot, the WAL can't restart: checkpoint once per `limit` new frames.
        if (frames < _lastCheckpointFrames)
            _lastCheckpointFrames = 0;
        if (frames - _lastCheckpointFrames < limit)
            return;
        store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_PASSIVE, out frames);
        _lastCheckpointFrames = frames;
        // A reader made the WAL too long and may be closed by now: truncate it.
        if (VolumeFiles.Length(files.Wal) > budget.WalBytes)
            ForceTruncate(store);
        else if (frames < 2 * limit)
            _lastCheckpointFrames = 0;
    }

    /// <summary>Checkpoints as much as possible on a full volume. Never throws.</summary>
    public static void TryCheckpoint(Store store)
    {
        try
        {
            store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_PASSIVE, out _);
        }
        catch (SqliteException)
        {
            // No room; retried later.
        }
    }

    /// <summary>Idle work: truncates a WAL that is too long, and shrinks the file if worthwhile.</summary>
    /// <returns>Whether the file was shrunk.</returns>
    public bool WhenIdle(Store store, StorageBudget budget)
    {
        _idleDone = true;
        // A reader in another process, closed by now, may have made it too long.
        if (VolumeFiles.Length(files.Wal) > budget.WalBytes)
            Truncate(store);
        return ShrinkFile(store, budget);
    }

    /// <summary>Checkpoints and truncates the WAL before the file is closed.</summary>
    public static void BeforeClosing(Store store) =>
        store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_TRUNCATE, out _);

    // VACUUM, when most of a large file is free or the file is larger than its share.
    bool ShrinkFile(Store store, StorageBudget budget)
    {
        var (pages, free) = store.CountPages();
        var isTooLarge = pages * Schema.PageBytes > budget.DatabaseBytes;
        var isNearlyEmpty = pages > KeptPages && free > pages / 8 * 7;
        if ((pages - free) * Schema.PageBytes > MaxVacuumBytes)
            return false;
        if (!isNearlyEmpty && !(isTooLarge && free > pages / 64))
            return false;
        if (files.FreeBytes < (2 * (pages - free) * Schema.PageBytes) + budget.ReserveBytes)
            return false;
        store.Connection.Execute("VACUUM");
        Truncate(store);
        return true;
    }

    void Truncate(Store store)
    {
        if (store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_TRUNCATE, out _))
            _lastCheckpointFrames = 0;
    }

    /// <summary>Whether the file has few free pages, so that it would soon have to grow.</summary>
    public static bool HasFewFreePages(Store store) => store.CountPages().Free < KeptFreePages;

    /// <summary>The time until the reserve is to be created; null when it exists.</summary>
    public TimeSpan? ReserveIn(StorageBudget budget)
    {
        if (VolumeFiles.Length(files.Reserve) == budget.ReserveBytes)
            return null;
        var left = _reserveTriedAt is { } tried ? ReserveRetry - timeProvider.GetElapsedTime(tried)
            : _hasCommitted ? TimeSpan.Zero
            : FirstReserve - timeProvider.GetElapsedTime(_openedAt);
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    /// <summary>Whether the free space on the volume is what the deleted reserve had: used only for deletions and
    /// the WAL.</summary>
    public bool IsReserveInUse(StorageBudget budget) => _isReserveMissing && files.FreeBytes < budget.ReserveBytes;

    /// <summary>Creates the reserve when it is due, unless the volume is nearly full.</summary>
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
            _isReserveMissing = false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            DropReserve();
        }
    }

    /// <summary>Deletes the reserve, so that deletions can commit on a full volume.</summary>
    /// <returns>Whether there was a reserve.</returns>
    public bool DropReserve()
    {
        _reserveTriedAt = timeProvider.GetTimestamp();
        try
        {
            if (!File.Exists(files.Reserve))
                return false;
            files.Delete(files.Reserve);
            _isReserveMissing = true;
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>The length of all files, and of the WAL.</summary>
    public (long Total, long Wal) Measure()
    {
        var wal = VolumeFiles.Length(files.Wal);
        return (VolumeFiles.Length(files.Database) + wal + VolumeFiles.Length(files.SharedMemory)
            + VolumeFiles.Length(files.Reserve), wal);
    }

    // Waits up to two seconds for readers, to truncate the WAL. Meanwhile nothing is written and new readings wait in
    // the ring, so this is done at most every ten seconds.
    void ForceTruncate(Store store)
    {
        if (_lastForced is { } last && timeProvider.GetElapsedTime(last) < PatienceWithReaders * 5)
            return;
        _lastForced = timeProvider.GetTimestamp();
        raw.sqlite3_busy_timeout(store.Connection.Handle, (int)PatienceWithReaders.TotalMilliseconds);
        try
        {
            Truncate(store);
        }
        finally
        {
            raw.sqlite3_busy_timeout(store.Connection.Handle, 250);
        }
    }
}
