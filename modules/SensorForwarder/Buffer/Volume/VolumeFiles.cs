using System.Runtime.InteropServices;
using Microsoft.Data.Sqlite;
using Microsoft.Win32.SafeHandles;
using SQLitePCL;

namespace SensorForwarder.Buffer;

internal enum VolumeOperationKind
{
    Write,
    Rename,
    Delete,
    SyncDirectory,
    SyncData,
    Extend,
}

/// <summary>One operation on the buffer's files that does not go through SQLite.</summary>
/// <param name="Length">The new length, for <see cref="VolumeOperationKind.Extend"/>.</param>
internal readonly record struct VolumeOperation(
    VolumeOperationKind Kind, string Path, string? Target = null, long Length = 0);

/// <summary>The paths of the buffer's files, and all file operations that do not go through SQLite. Each is reported to
/// an observer first, which may record it or throw. Paths and <see cref="FreeBytes"/>: any thread; operations: the
/// owner of the writing connection.</summary>
internal sealed partial class VolumeFiles(string directory, Action<VolumeOperation>? observer)
{
    const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public const string DatabaseName = "telemetry.db";

    public string Directory { get; } = directory;

    public string Database { get; } = Path.Combine(directory, DatabaseName);

    public string Wal { get; } = Path.Combine(directory, "telemetry.db-wal");

    public string SharedMemory { get; } = Path.Combine(directory, "telemetry.db-shm");

    public string Reserve { get; } = Path.Combine(directory, "telemetry.reserve");

    /// <summary>The new file while a damaged one is being replaced; found at start if that was interrupted.</summary>
    public string Salvage { get; } = Path.Combine(directory, "telemetry.salvage");

    /// <summary>Locked by the process that owns the directory; names that process.</summary>
    public string Lock { get; } = Path.Combine(directory, "telemetry.lock");

    /// <summary>The path of a file from its stored name. A directory in the name is ignored, since the volume may be
    /// mounted elsewhere now.</summary>
    public string In(string name) => Path.Combine(Directory, Path.GetFileName(name));

    /// <summary>Ignores SIGXFSZ, so that a write beyond RLIMIT_FSIZE fails as on a full volume, instead of ending
    /// the process.</summary>
    public static void SurviveFileSizeLimit()
    {
        const int SizeExceeded = 25; // SIGXFSZ
        const nint Ignore = 1;
        _ = signal(SizeExceeded, Ignore);
    }

    public static long Length(string path)
    {
        var info = new FileInfo(path);
        return info.Exists ? info.Length : 0;
    }

    /// <summary>Creates the directory and its missing parents, accessible by the owner only.</summary>
    public void CreateDirectory() => CreateDirectory(Path.GetFullPath(Directory));

    public void Rename(string from, string to)
    {
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.Rename, from, to));
        File.Move(from, to, overwrite: true);
    }

    public void Delete(string path)
    {
        // File.Exists is false for a dangling symbolic link.
        if (!File.Exists(path) && new FileInfo(path).LinkTarget is null)
            return;
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.Delete, path));
        File.Delete(path);
    }

    /// <summary>Creates a file with mode 0600 before SQLite opens it, which copies the mode to WAL and shared memory.
    /// An existing file is left unchanged.</summary>
    public void CreatePrivate(string path)
    {
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.Write, path));
        OpenPrivate(path, FileMode.OpenOrCreate).Dispose();
    }

    /// <summary>Replaces a small file atomically and durably, with mode 0600: after a power cut it has the old content
    /// or the new.</summary>
    public void WritePrivate(string path, ReadOnlySpan<byte> content)
    {
        var unfinished = path + ".new";
        Delete(unfinished);
        using (var file = OpenPrivate(unfinished, FileMode.CreateNew))
        {
            file.Write(content);
            file.Flush(flushToDisk: true);
        }
        Rename(unfinished, path);
        SyncDirectory();
    }

    /// <summary>The limits with <see cref="BufferLimits.MaxBytes"/> reduced to the size of the volume, of which WAL and
    /// reserve take their shares.</summary>
    public BufferLimits CapToVolume(BufferLimits limits)
    {
        try
        {
            return limits with { MaxBytes = Math.Min(limits.MaxBytes, new DriveInfo(Directory).TotalSize) };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Writing to the volume will show what is wrong.
            return limits;
        }
    }

    /// <summary>Free bytes on the volume; <see cref="long.MaxValue"/> when unknown.</summary>
    public long FreeBytes
    {
        get
        {
            try
            {
                return new DriveInfo(Directory).AvailableFreeSpace;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return long.MaxValue;
            }
        }
    }

    /// <summary>Writes the reserve with real blocks, not a hole, so that deleting it frees that space.</summary>
    public void WriteReserve(int bytes)
    {
        Delete(Reserve);
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.Write, Reserve));
        using var file = OpenPrivate(Reserve, FileMode.CreateNew);
        // Random content: a compressing file system would store zeros without using any space.
        var block = new byte[65_536];
        new Random(bytes).NextBytes(block);
        for (var written = 0; written < bytes; written += block.Length)
            file.Write(block.AsSpan(0, Math.Min(block.Length, bytes - written)));
        file.Flush(flushToDisk: true);
    }

    /// <summary>Appends zeros to a file. Later writes there do not change its length, so <see cref="SyncData"/> need
    /// not write the file system's journal.</summary>
    public void Extend(string path, SafeFileHandle file, long from, int bytes)
    {
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.Extend, path, Length: from + bytes));
        RandomAccess.Write(file, new byte[bytes], from);
    }

    /// <summary>Syncs the content of a file with fdatasync.</summary>
    /// <exception cref="SqliteException">The volume is full, or an I/O error.</exception>
    public void SyncData(string path, SafeFileHandle file)
    {
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.SyncData, path));
        const int NoSpace = 28, QuotaExceeded = 122; // ENOSPC, EDQUOT
        if (fdatasync(file) == 0)
            return;
        var error = Marshal.GetLastPInvokeError();
        var code = error is NoSpace or QuotaExceeded ? raw.SQLITE_FULL : raw.SQLITE_IOERR_FSYNC;
        throw new SqliteException($"{path}: fdatasync failed with error {error}", code & 0xFF, code);
    }

    /// <summary>Makes creations, renames and deletions in the directory durable.</summary>
    public void SyncDirectory()
    {
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.SyncDirectory, Directory));
        // .NET can't open a directory for fsync.
        var descriptor = open(Directory, 0);
        if (descriptor < 0)
            return;
        _ = fsync(descriptor);
        _ = close(descriptor);
    }

    static FileStream OpenPrivate(string path, FileMode mode)
    {
        var options = new FileStreamOptions
        {
            Mode = mode,
            Access = FileAccess.ReadWrite,
            Share = FileShare.ReadWrite,
            BufferSize = 0,
        };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = OwnerOnly;
        return new FileStream(path, options);
    }

    static void CreateDirectory(string path)
    {
        if (System.IO.Directory.Exists(path))
            return;
        if (Path.GetDirectoryName(path) is { Length: > 0 } above)
            CreateDirectory(above);
        if (OperatingSystem.IsWindows())
            System.IO.Directory.CreateDirectory(path);
        else
            System.IO.Directory.CreateDirectory(path, OwnerOnly | UnixFileMode.UserExecute);
    }

#pragma warning disable IDE1006 // The functions have the C library's names.
    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string path, int flags);

    [LibraryImport("libc")]
    private static partial int fsync(int descriptor);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int fdatasync(SafeFileHandle descriptor);

    [LibraryImport("libc")]
    private static partial int close(int descriptor);

    [LibraryImport("libc")]
    private static partial nint signal(int number, nint handler);
#pragma warning restore IDE1006
}
