using SensorForwarder.Buffer;

namespace SensorForwarder.Tests.Buffer;

internal enum FileOperationKind
{
    Open,
    Read,
    Write,
    Truncate,
    Sync,
    Delete,
    Rename,
    SyncDirectory,

    /// <summary>Not an operation: everything up to this id was reported as committed.</summary>
    Committed,

    /// <summary>Not an operation: everything up to this id may be gone from here on.</summary>
    Acknowledging,
}

/// <param name="Number">Offset of a write, size of a truncation, id of a mark.</param>
internal readonly record struct FileOperation(
    FileOperationKind Kind, string Path, long Number = 0, byte[]? Bytes = null, string? Target = null);

/// <summary>Notes what happens in one directory, and makes one operation fail. Any thread.</summary>
internal sealed class Recorder
{
    readonly Lock _gate = new();
    readonly List<FileOperation> _log = [];

    /// <summary>Whether operations are noted, with what they write.</summary>
    public bool IsRecording { get; init; }

    /// <summary>Which kind of operation fails; null lets all pass.</summary>
    public FileOperationKind? FailKind { get; set; }

    /// <summary>Which of them: 1 is the next one.</summary>
    public int FailAt { get; set; }

    /// <summary>The SQLite result code that it fails with.</summary>
    public int FailCode { get; set; }

    /// <summary>Whether all later ones fail as well, until <see cref="FailKind"/> is reset.</summary>
    public bool FailsOn { get; set; }

    public bool HasFailed { get; private set; }

    public List<FileOperation> Log
    {
        get
        {
            lock (_gate)
                return [.. _log];
        }
    }

    public int On(FileOperation operation, ReadOnlySpan<byte> bytes = default)
    {
        lock (_gate)
        {
            if (FailKind == operation.Kind && (--FailAt == 0 || (FailAt < 0 && FailsOn)))
            {
                HasFailed = true;
                return FailCode;
            }
            if (IsRecording && operation.Kind != FileOperationKind.Read)
                _log.Add(operation with { Bytes = bytes.IsEmpty ? null : bytes.ToArray() });
            return 0;
        }
    }

    /// <summary>What the buffer does to files without SQLite.</summary>
    public void OnVolume(VolumeOperation operation)
    {
        FileOperationKind? kind = operation.Kind switch
        {
            VolumeOperationKind.Rename => FileOperationKind.Rename,
            VolumeOperationKind.Delete => FileOperationKind.Delete,
            VolumeOperationKind.SyncDirectory => FileOperationKind.SyncDirectory,
            VolumeOperationKind.Write => FileOperationKind.Open,
            _ => null,
        };
        if (kind is { } k && On(new FileOperation(k, operation.Path, Target: operation.Target)) != 0)
            throw new IOException($"{k} of {operation.Path} was made to fail");
    }
}
