using SensorForwarder.Buffer;

namespace SensorForwarder.Tests.Buffer;

internal enum FileOperationKind
{
    Open,
    Read,
    Write,
    Truncate,

    /// <summary>Zeros are appended to a file.</summary>
    Extend,
    Sync,
    Delete,
    Rename,
    SyncDirectory,

    /// <summary>Not an operation: everything up to this id was reported as committed.</summary>
    Committed,

    /// <summary>Not an operation: everything up to this id may be gone from here on.</summary>
    Acknowledging,
}

/// <param name="Number">Offset of a write, size after a truncation or extension, id of a mark.</param>
internal readonly record struct FileOperation(
    FileOperationKind Kind, string Path, long Number = 0, byte[]? Bytes = null, string? Target = null);

/// <summary>Records the file operations in one directory, and can make some of them fail. Thread-safe.</summary>
internal sealed class Recorder
{
    readonly Lock _gate = new();
    readonly List<FileOperation> _log = [];

    /// <summary>Whether operations are recorded, with their content.</summary>
    public bool IsRecording { get; init; }

    /// <summary>Which kind of operation fails; null: none.</summary>
    public FileOperationKind? FailKind { get; set; }

    /// <summary>Which operation of that kind fails; 1: the next one.</summary>
    public int FailAt { get; set; }

    /// <summary>Filter on the operations of that kind; null: all.</summary>
    public Func<FileOperation, bool>? FailWhere { get; set; }

    /// <summary>The SQLite result code of the failure.</summary>
    public int FailCode { get; set; }

    /// <summary>Whether all later ones fail as well, until <see cref="FailKind"/> is reset.</summary>
    public bool FailsOn { get; set; }

    public bool HasFailed { get; private set; }

    /// <summary>Called before each operation, on its thread, which it may block.</summary>
    public Action<FileOperation>? Before { get; set; }

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
        Before?.Invoke(operation);
        lock (_gate)
        {
            if (FailKind == operation.Kind && FailWhere?.Invoke(operation) != false
                && (--FailAt == 0 || (FailAt < 0 && FailsOn)))
            {
                HasFailed = true;
                return FailCode;
            }
            if (IsRecording && operation.Kind != FileOperationKind.Read)
                _log.Add(operation with { Bytes = bytes.IsEmpty ? null : bytes.ToArray() });
            return 0;
        }
    }

    /// <summary>Observes the file operations that do not go through SQLite.</summary>
    public void OnVolume(VolumeOperation operation)
    {
        FileOperationKind? kind = operation.Kind switch
        {
            VolumeOperationKind.Rename => FileOperationKind.Rename,
            VolumeOperationKind.Delete => FileOperationKind.Delete,
            VolumeOperationKind.SyncDirectory => FileOperationKind.SyncDirectory,
            VolumeOperationKind.Write => FileOperationKind.Open,
            VolumeOperationKind.SyncData => FileOperationKind.Sync,
            VolumeOperationKind.Extend => FileOperationKind.Extend,
            _ => null,
        };
        if (kind is { } k && On(new FileOperation(k, operation.Path, operation.Length, Target: operation.Target)) != 0)
            throw new IOException($"{k} of {operation.Path} was made to fail");
    }
}
