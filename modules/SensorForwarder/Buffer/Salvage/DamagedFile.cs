using System.Buffers.Binary;

namespace SensorForwarder.Buffer;

/// <summary>A database and its WAL, opened as plain files without SQLite. Not thread-safe.</summary>
internal sealed class DamagedFile : IDisposable
{
    readonly Stream _database;
    readonly Stream _log;

    public DamagedFile(Stream database, Stream log)
    {
        (_database, _log) = (database, log);
        var pageBytes = FindPageBytes();
        Scanner = new PageScanner(_database, _log.Length > 0 ? WalFile.Read(_log, pageBytes) : null, pageBytes);
    }

    public PageScanner Scanner { get; }

    public static DamagedFile Open(string path) => new(OpenAny(path), OpenAny(path + "-wal"));

    public void Dispose()
    {
        _database.Dispose();
        _log.Dispose();
    }

    static Stream OpenAny(string path) => File.Exists(path)
        ? new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 1 << 16)
        : new MemoryStream();

    // The page size is in the headers of database and WAL; if both are damaged, it is guessed from the pages.
    int FindPageBytes()
    {
        var header = Read(_database, 0, Schema.HeaderBytes);
        if (header.AsSpan().StartsWith("SQLite format 3\0"u8)
            && BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(16)) is var inDatabase && IsKnown(inDatabase))
        {
            return inDatabase;
        }
        var log = Read(_log, 0, Schema.HeaderBytes);
        if (BinaryPrimitives.ReadUInt32BigEndian(log.AsSpan(8)) is var inLog && IsKnown(inLog))
            return (int)inLog;
        var step = Schema.PageBytes;
        var leaves = 0;
        for (var at = 0L; at < Math.Min(_database.Length, 64L * Schema.Format1PageBytes); at += step)
        {
            if (at % Schema.Format1PageBytes != 0 && LooksLikeLeaf(Read(_database, at, 8)))
                leaves++;
        }
        return leaves > 0 || _database.Length < 2 * Schema.Format1PageBytes ? step : Schema.Format1PageBytes;
    }

    static bool IsKnown(long bytes) => bytes is Schema.PageBytes or Schema.Format1PageBytes;

    static bool LooksLikeLeaf(byte[] page) => page[0] is 0x0D or 0x0A && page[7] < 60
        && BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(3)) is > 0 and < Schema.PageBytes / 4
        && BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(5)) is > 8 and <= Schema.PageBytes;

    static byte[] Read(Stream stream, long at, int count)
    {
        var bytes = new byte[count];
        if (at >= stream.Length)
            return bytes;
        try
        {
            stream.Position = at;
            stream.ReadAtLeast(bytes, count, throwOnEndOfStream: false);
        }
        catch (IOException)
        {
            // An unreadable block counts as zeros.
        }
        return bytes;
    }
}
