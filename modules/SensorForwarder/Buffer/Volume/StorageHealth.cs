using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>The state of the volume after the last attempt to write, and when to retry. Updated by the writer's thread;
/// readable by any.</summary>
internal sealed class StorageHealth(string databasePath, TimeProvider timeProvider)
{
    static readonly TimeSpan FirstRetry = TimeSpan.FromMilliseconds(250);
    static readonly TimeSpan LastRetry = TimeSpan.FromSeconds(10);

    volatile Report _report = new(StorageState.Ok, null);
    long _failedAt;

    sealed record Report(StorageState State, string? Reason);

    public StorageState State => _report.State;

    public string? Reason => _report.Reason;

    /// <summary>Consecutive failed attempts.</summary>
    public int Failures { get; private set; }

    public long TotalFailures { get; private set; }

    public bool IsOk => Failures == 0;

    /// <summary>The time until the next attempt; zero when it is due.</summary>
    public TimeSpan RetryIn()
    {
        if (IsOk)
            return TimeSpan.Zero;
        // A lock is usually held for milliseconds; a full or broken volume needs time, so the wait doubles.
        var wait = State == StorageState.Busy
            ? FirstRetry
            : TimeSpan.FromTicks(Math.Min(LastRetry.Ticks, FirstRetry.Ticks << Math.Min(Failures - 1, 16)));
        var left = wait - timeProvider.GetElapsedTime(_failedAt);
        return left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    /// <returns>Whether the state changed.</returns>
    public bool Failed(Exception failure)
    {
        var report = Describe(failure);
        var changed = report.State != State;
        _report = report;
        _failedAt = timeProvider.GetTimestamp();
        Failures++;
        TotalFailures++;
        return changed;
    }

    /// <returns>Whether the state changed.</returns>
    public bool Succeeded()
    {
        if (IsOk)
            return false;
        Failures = 0;
        _report = new Report(StorageState.Ok, null);
        return true;
    }

    public void Closed() => _report = new Report(StorageState.Closed, "the buffer was closed");

    Report Describe(Exception failure) => failure switch
    {
        SqliteException { SqliteErrorCode: raw.SQLITE_FULL } => new(
            StorageState.Full, $"{databasePath}: no room on the volume; free space or lower bufferMaxMegabytes"),
        SqliteException { SqliteErrorCode: raw.SQLITE_BUSY or raw.SQLITE_LOCKED } => new(
            StorageState.Busy, $"{databasePath}: another process holds the write lock; stop that process"),
        SqliteException { SqliteErrorCode: raw.SQLITE_READONLY or raw.SQLITE_CANTOPEN or raw.SQLITE_PERM } => new(
            StorageState.ReadOnly,
            $"{databasePath}: can't be written ({failure.Message}); "
            + VolumeAccess.Explain(Path.GetDirectoryName(databasePath)!)),
        _ => new(StorageState.Failing, $"{databasePath}: {failure.Message}; check the volume and the kernel log"),
    };
}
