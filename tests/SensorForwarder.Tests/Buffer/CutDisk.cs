namespace SensorForwarder.Tests.Buffer;

/// <summary>What a power cut does to writes that were not synced.</summary>
internal enum CutFault
{
    /// <summary>None reached the medium.</summary>
    Dropped,

    /// <summary>All reached it.</summary>
    Kept,

    /// <summary>Those up to a random one did, and that one up to a sector of 512 bytes.</summary>
    Torn,

    /// <summary>A random subset of the sectors did, in any order.</summary>
    Reordered,

    /// <summary>Files have their new length, but missing new sectors hold zeros; others may be missing too.</summary>
    Zeroed,
}

/// <summary>Replays a recorded log of file operations up to a power cut, and writes the directory as it may look then.
/// </summary>
internal sealed class CutDisk(Random random)
{
    const int SectorBytes = 512;

    // Names as the process sees them, names on the medium, and the changes not on the medium yet.
    readonly Dictionary<string, CutFile> _files = [];
    readonly Dictionary<string, CutFile> _durableNames = [];
    readonly List<(FileOperation Operation, CutFile File)> _pendingNames = [];

    // The content on the medium, and the writes not synced yet.
    sealed class CutFile
    {
        public byte[] Durable { get; set; } = [];

        public List<FileOperation> Pending { get; } = [];
    }

    public void Play(FileOperation operation)
    {
        switch (operation.Kind)
        {
            case FileOperationKind.Open:
                var opened = new CutFile();
                if (_files.TryAdd(operation.Path, opened))
                    _pendingNames.Add((operation, opened));
                break;
            case FileOperationKind.Write or FileOperationKind.Truncate or FileOperationKind.Extend:
                _files[operation.Path].Pending.Add(operation);
                break;
            case FileOperationKind.Sync:
                var file = _files[operation.Path];
                file.Durable = Apply(file.Durable, file.Pending);
                file.Pending.Clear();
                // SQLite syncs the directory with the first sync of a WAL or journal, but not of a database.
                if (!operation.Path.EndsWith(".db", StringComparison.Ordinal))
                    SyncNames();
                break;
            case FileOperationKind.Delete or FileOperationKind.Rename:
                if (_files.Remove(operation.Path, out var moved))
                {
                    if (operation.Target is { } target)
                        _files[target] = moved;
                    _pendingNames.Add((operation, moved));
                }
                break;
            case FileOperationKind.SyncDirectory:
                SyncNames();
                break;
            default:
                break;
        }
    }

    /// <summary>Writes the directory as it may be found after a power cut at this point.</summary>
    public void WriteImage(string directory, CutFault fault)
    {
        // Names change in order, as in a journaling file system; a random number of changes is applied.
        var count = fault switch
        {
            CutFault.Dropped => 0,
            CutFault.Kept => _pendingNames.Count,
            _ => random.Next(_pendingNames.Count + 1),
        };
        var names = new Dictionary<string, CutFile>(_durableNames);
        foreach (var (operation, file) in _pendingNames.Take(count))
            Change(names, operation, file);
        foreach (var (path, file) in names)
        {
            // SQLite rebuilds the WAL index; its content on the medium does not matter.
            if (!path.EndsWith("-shm", StringComparison.Ordinal))
                File.WriteAllBytes(Path.Combine(directory, Path.GetFileName(path)), Surviving(file, fault));
        }
    }

    static void Change(Dictionary<string, CutFile> names, FileOperation operation, CutFile file)
    {
        if (operation.Kind != FileOperationKind.Open)
            names.Remove(operation.Path);
        if (operation.Kind != FileOperationKind.Delete)
            names[operation.Target ?? operation.Path] = file;
    }

    void SyncNames()
    {
        foreach (var (operation, file) in _pendingNames)
            Change(_durableNames, operation, file);
        _pendingNames.Clear();
    }

    byte[] Surviving(CutFile file, CutFault fault)
    {
        switch (fault)
        {
            case CutFault.Dropped:
                return file.Durable;
            case CutFault.Kept:
                return Apply(file.Durable, file.Pending);
            case CutFault.Torn:
                var whole = random.Next(file.Pending.Count + 1);
                var torn = Apply(file.Durable, file.Pending.Take(whole));
                return whole == file.Pending.Count
                    ? torn
                    : Apply(torn, Sectors(file.Pending[whole], (index, count) => index < random.Next(count + 1)));
            default:
                var sectors = file.Pending.SelectMany(p => Sectors(p, (_, _) => random.Next(2) == 0)).ToArray();
                if (fault == CutFault.Reordered)
                    random.Shuffle(sectors);
                var bytes = Apply(file.Durable, sectors);
                var size = Apply(file.Durable, file.Pending).Length;
                if (fault == CutFault.Zeroed && size > bytes.Length)
                    Array.Resize(ref bytes, size);
                return bytes;
        }
    }

    static IEnumerable<FileOperation> Sectors(FileOperation operation, Func<int, int, bool> survives)
    {
        if (operation.Kind is FileOperationKind.Truncate or FileOperationKind.Extend)
        {
            if (survives(0, 1))
                yield return operation;
            yield break;
        }
        // Sectors of the medium, not of the write: a write across a sector boundary is torn there.
        var count = operation.Bytes!.Length;
        for (int at = 0, index = 0; at < count; index++)
        {
            var length = Math.Min(SectorBytes - (int)((operation.Number + at) % SectorBytes), count - at);
            if (survives(index, (count / SectorBytes) + 1))
                yield return operation with { Number = operation.Number + at, Bytes = operation.Bytes[at..(at + length)] };
            at += length;
        }
    }

    static byte[] Apply(byte[] durable, IEnumerable<FileOperation> operations)
    {
        var bytes = (byte[])durable.Clone();
        foreach (var operation in operations)
        {
            if (operation.Kind == FileOperationKind.Truncate)
            {
                Array.Resize(ref bytes, (int)operation.Number);
                continue;
            }
            if (operation.Kind == FileOperationKind.Extend)
            {
                Array.Resize(ref bytes, Math.Max(bytes.Length, (int)operation.Number));
                continue;
            }
            var end = (int)operation.Number + operation.Bytes!.Length;
            if (end > bytes.Length)
                Array.Resize(ref bytes, end);
            operation.Bytes.CopyTo(bytes, operation.Number);
        }
        return bytes;
    }
}
