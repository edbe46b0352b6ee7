using Microsoft.Win32.SafeHandles;
using SensorForwarder.Files;

namespace SensorForwarder.Buffer;

/// <summary>The files of the open database: syncs and extends the WAL, and detects when a path no longer refers to the
/// open file. Owned by the writer's thread.</summary>
internal sealed class OpenFiles(VolumeFiles files) : IDisposable
{
    // The WAL is extended by this much at once. The zeros are extra writes, but save more writes to the journal.
    const int PieceBytes = 64 << 10;

    readonly FileStatus? _database = FileStatus.Of(files.Database);
    bool _isLogFixed; // the WAL has its final length, or extending it failed
    SafeFileHandle? _log;
    FileStatus? _logStatus;

    /// <summary>Makes all transactions so far durable.</summary>
    public void Sync()
    {
        // Never open the database or -shm here: closing a second descriptor would release SQLite's POSIX locks.
        if (_log is null)
        {
            _log = File.OpenHandle(
                files.Wal, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
            _logStatus = FileStatus.Of(_log);
        }
        files.SyncData(files.Wal, _log);
    }

    /// <summary>Extends the WAL with zeros ahead of its frames, so that a sync need not write a new file
    /// length.</summary>
    /// <param name="usedBytes">The end of the last frame.</param>
    /// <param name="maxBytes">The length that it must not exceed.</param>
    public void KeepLogAhead(long usedBytes, long maxBytes)
    {
        if (_log is null || _isLogFixed)
            return;
        var length = RandomAccess.GetLength(_log);
        if (length - usedBytes >= PieceBytes / 4)
            return;
        _isLogFixed = length + PieceBytes > maxBytes;
        if (_isLogFixed)
            return;
        try
        {
            files.Extend(files.Wal, _log, length, PieceBytes);
        }
        catch (IOException)
        {
            // This only saves wear: on a full volume SQLite extends the WAL itself as far as it can.
            _isLogFixed = true;
        }
    }

    /// <summary>Detects that the open files were deleted, renamed, replaced or unmounted: commits would be written to
    /// files that no later start finds.</summary>
    /// <returns>A description; null when the paths refer to the open files.</returns>
    public string? FindLost() =>
        _database is not null && !IsSame(_database, files.Database)
            ? $"{files.Database} was deleted, renamed or replaced while it was open"
            : _logStatus is not null && !IsSame(_logStatus, files.Wal)
                ? $"{files.Wal} was deleted, renamed or replaced while it was open"
                : null;

    public bool IsDatabase(FileStatus file) => _database is not null && IsSame(_database, file);

    /// <summary>Opens the files again through /proc/self/fd, wherever they are now.</summary>
    /// <returns>Null when this process no longer has the database open.</returns>
    public (Stream Database, Stream Log)? Reopen()
    {
        Stream? database = null, log = null;
        foreach (var descriptor in Directory.EnumerateFiles("/proc/self/fd"))
        {
            if (FileStatus.Of(descriptor) is not { } status)
                continue;
            if (database is null && _database is not null && IsSame(_database, status))
                database = Open(descriptor);
            else if (log is null && _logStatus is not null && IsSame(_logStatus, status))
                log = Open(descriptor);
        }
        if (database is not null)
            return (database, log ?? new MemoryStream());
        log?.Dispose();
        return null;
    }

    public void Dispose() => _log?.Dispose();

    static FileStream Open(string descriptor) =>
        new(descriptor, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 1 << 16);

    static bool IsSame(FileStatus file, string path) => FileStatus.Of(path) is { } now && IsSame(file, now);

    static bool IsSame(FileStatus file, FileStatus other) =>
        file.Device == other.Device && file.Inode == other.Inode;
}
