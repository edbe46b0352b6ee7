using System.Runtime.InteropServices;

namespace SensorForwarder.Buffer;

internal enum VolumeOperationKind
{
    Write,
    Rename,
    Delete,
    SyncDirectory,
}

/// <summary>One operation on the buffer's directory that does not go through SQLite.</summary>
internal readonly record struct VolumeOperation(VolumeOperationKind Kind, string Path, string? Target = null);

/// <summary>The buffer's own file operations. Each is told to an observer first, which may record it or throw.
/// Not thread-safe; used by whoever owns the writing connection.</summary>
internal sealed partial class VolumeFiles(string directory, Action<VolumeOperation>? observer)
{
    const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public const string DatabaseName = "telemetry.db";

    public string Directory { get; } = directory;

    public string Database { get; } = Path.Combine(directory, DatabaseName);

    public string Wal { get; } = Path.Combine(directory, "telemetry.db-wal");

    public string SharedMemory { get; } = Path.Combine(directory, "telemetry.db-shm");

    public string Reserve { get; } = Path.Combine(directory, "telemetry.reserve");

    /// <summary>A salvage in progress; one that is found at the start was interrupted and is begun again.</summary>
    public string Salvage { get; } = Path.Combine(directory, "telemetry.salvage");

    /// <summary>A damaged file that is kept as evidence.</summary>
    public string Kept(int number) => Path.Combine(Directory, $"telemetry.damaged-{number}.db");

    public static long Length(string path)
    {
        var info = new FileInfo(path);
        return info.Exists ? info.Length : 0;
    }

    /// <summary>Creates the directory, and those above it, for the owner only. Existing ones are left alone.</summary>
    public void CreateDirectory() => CreateDirectory(Path.GetFullPath(Directory));

    public void Rename(string from, string to)
    {
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.Rename, from, to));
        File.Move(from, to, overwrite: true);
    }

    public void Delete(string path)
    {
        // A link to nothing is there too.
        if (!File.Exists(path) && new FileInfo(path).LinkTarget is null)
            return;
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.Delete, path));
        File.Delete(path);
    }

    /// <summary>Makes a file readable by its owner only, before SQLite writes to it. WAL and shared memory take over
    /// the mode of the database. A file that exists is left as it is.</summary>
    public void CreatePrivate(string path)
    {
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.Write, path));
        OpenPrivate(path, FileMode.OpenOrCreate).Dispose();
    }

    /// <summary>Writes a whole small file, readable by its owner only, and makes it durable: after a power cut it is
    /// there as it was or as it is now.</summary>
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

    /// <summary>The limits, with no more room than the volume has: the log and the reserve take their share
    /// of what is there.</summary>
    public BufferLimits OnItsVolume(BufferLimits limits)
    {
        try
        {
            return limits with { MaxBytes = Math.Min(limits.MaxBytes, new DriveInfo(Directory).TotalSize) };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A volume that can't be asked is met by what is written to it.
            return limits;
        }
    }

    /// <summary>Room on the volume; as if there were plenty when it can't be told.</summary>
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

    /// <summary>Writes real blocks, not a hole, so that deleting the file gives that much room back.</summary>
    public void WriteReserve(int bytes)
    {
        Delete(Reserve);
        observer?.Invoke(new VolumeOperation(VolumeOperationKind.Write, Reserve));
        using var file = OpenPrivate(Reserve, FileMode.CreateNew);
        // A file system that compresses would make zeros free of charge and the reserve worthless.
        var block = new byte[65_536];
        new Random(bytes).NextBytes(block);
        for (var written = 0; written < bytes; written += block.Length)
            file.Write(block.AsSpan(0, Math.Min(block.Length, bytes - written)));
        file.Flush(flushToDisk: true);
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

    [LibraryImport("libc")]
    private static partial int close(int descriptor);
#pragma warning restore IDE1006
}
