using System.Buffers.Binary;
using System.Collections;
using System.Text;

namespace SensorForwarder.Buffer;

/// <summary>One record of a damaged file: the rowid (0 in a table without one) and its columns as long, string (text),
/// byte[] (blob) or null (also for REAL).</summary>
/// <param name="IsCut">The end of the last column is missing.</param>
internal readonly record struct ScannedRecord(long RowId, object?[] Columns, bool IsCut = false);

/// <summary>
/// Reads records from the leaf pages of a damaged database, page by page, trusting neither the header nor the interior
/// pages. Pages in the WAL replace those of the database, as SQLite would see it, including intact frames after the
/// first invalid one. Reads both as plain files. Not thread-safe. Format: https://www.sqlite.org/fileformat2.html
/// </summary>
internal sealed class PageScanner : IDisposable
{
    const byte TableLeaf = 0x0D;
    const byte IndexLeaf = 0x0A;

    // Pointer map (format 1): five bytes for each following page; type 2 means that the page is free.
    const byte FreePage = 2;

    // A record that claims to be larger is damaged.
    const int MaxRecordBytes = 4 << 20;

    const byte TableInterior = 0x05;
    const byte IndexInterior = 0x02;

    // The first pages hold the roots of all tables, and the small tables; the last pages are the newest.
    const uint FirstPages = 64;
    const uint LastPages = 64;
    const int MaxDepth = 20;

    readonly Stream _database;
    readonly Stream _log;
    readonly WalFile? _wal;
    readonly int _pageBytes;
    readonly ILookup<uint, long>? _logged;
    readonly long[] _doubtful;
    readonly int _pagesPerMap;
    readonly byte[] _page;

    // Pages of the database including those that are only in the WAL.
    readonly uint _databasePages;
    BitArray? _free;
    bool _hasMap;

    /// <param name="database">Disposed with the scanner.</param>
    /// <param name="log">The WAL, disposed with the scanner; empty: there is none.</param>
    public PageScanner(Stream database, Stream log)
    {
        (_database, _log) = (database, log);
        _pageBytes = FindPageBytes(database, log);
        _wal = log.Length > 0 ? WalFile.Read(log, _pageBytes) : null;
        _logged = _wal?.Pages();
        _doubtful = [.. _wal?.DoubtfulImages() ?? []];
        _pagesPerMap = _pageBytes / 5;
        _page = new byte[_pageBytes];
        _databasePages = CountPages();
    }

    /// <summary>The number of records skipped because of an unexpected exception, which is a bug.</summary>
    public int Faults { get; private set; }

    /// <summary>The number of pages: those of database and WAL, followed by the page images in invalid WAL frames,
    /// which come last because their readings may also be in a valid page.</summary>
    public uint Pages => _databasePages + (uint)_doubtful.Length;

    public static PageScanner Open(string path) => new(OpenAny(path), OpenAny(path + "-wal"));

    public void Dispose()
    {
        _database.Dispose();
        _log.Dispose();
    }

    /// <summary>The records of a limited number of pages, readable in bounded time: usually the small tables and the
    /// newest readings.</summary>
    public IEnumerable<ScannedRecord> Sketch()
    {
        var numbers = new SortedSet<uint>(_logged?.Select(g => g.Key) ?? []);
        for (uint number = 1; number <= Math.Min(FirstPages, Pages); number++)
        {
            numbers.Add(number);
            foreach (var child in Children(number))
            {
                numbers.Add(child);
                numbers.Add(Rightmost(child));
            }
        }
        for (var number = Pages > LastPages ? Pages - LastPages : 1; number <= Pages; number++)
            numbers.Add(number);
        return numbers.Where(n => n > 0 && n <= Pages).SelectMany(Records);
    }

    /// <summary>The records of one page; none when it is not a leaf, or is free.</summary>
    public List<ScannedRecord> Records(uint number)
    {
        if (number > _databasePages)
            return _wal!.ReadPage(_doubtful[number - _databasePages - 1], _page) ? Records(number, _page) : [];
        return IsFree(number) || IsMap(number) || !ReadPage(number, _page)
            ? []
            : Records(number, _page);
    }

    static Stream OpenAny(string path) => File.Exists(path)
        ? new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 1 << 16)
        : new MemoryStream();

    // The page size is in the headers of database and WAL; if both are damaged, it is guessed from the pages.
    static int FindPageBytes(Stream database, Stream log)
    {
        var header = ReadBytes(database, 0, Schema.HeaderBytes);
        if (header.AsSpan().StartsWith("SQLite format 3\0"u8)
            && BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(16)) is var inDatabase && IsKnown(inDatabase))
        {
            return inDatabase;
        }
        var logHeader = ReadBytes(log, 0, Schema.HeaderBytes);
        if (BinaryPrimitives.ReadUInt32BigEndian(logHeader.AsSpan(8)) is var inLog && IsKnown(inLog))
            return (int)inLog;
        var step = Schema.PageBytes;
        var leaves = 0;
        for (var at = 0L; at < Math.Min(database.Length, 64L * Schema.Format1PageBytes); at += step)
        {
            if (at % Schema.Format1PageBytes != 0 && LooksLikeLeaf(ReadBytes(database, at, 8)))
                leaves++;
        }
        return leaves > 0 || database.Length < 2 * Schema.Format1PageBytes ? step : Schema.Format1PageBytes;
    }

    static bool IsKnown(long bytes) => bytes is Schema.PageBytes or Schema.Format1PageBytes;

    static bool LooksLikeLeaf(byte[] page) => page[0] is 0x0D or 0x0A && page[7] < 60
        && BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(3)) is > 0 and < Schema.PageBytes / 4
        && BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(5)) is > 8 and <= Schema.PageBytes;

    static byte[] ReadBytes(Stream stream, long at, int count)
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

    uint CountPages()
    {
        var count = (uint)Math.Min(uint.MaxValue - 1, (_database.Length + _pageBytes - 1) / _pageBytes);
        foreach (var logged in _logged?.Select(g => g.Key) ?? [])
            // A page number far beyond the file is damage.
            count = logged < count + 4_000_000 ? Math.Max(count, logged) : count;
        return count;
    }

    // Rows on free pages were deleted, or rewritten elsewhere. If the free list disagrees with the count in the header,
    // one of them is damaged, and no page counts as free: sending a reading twice is better than losing one.
    bool IsFree(uint number)
    {
        _free ??= FindFree();
        return number < _free.Length && _free[(int)number];
    }

    BitArray FindFree()
    {
        var none = new BitArray(0);
        var first = new byte[_pageBytes];
        if (!ReadPage(1, first))
            return none;
        var free = new BitArray((int)Math.Min(int.MaxValue - 1, _databasePages) + 1);
        var count = BinaryPrimitives.ReadUInt32BigEndian(first.AsSpan(36));
        var hasMap = BinaryPrimitives.ReadUInt32BigEndian(first.AsSpan(52)) != 0;
        var found = hasMap
            ? MarkMapped(free)
            : MarkListed(free, BinaryPrimitives.ReadUInt32BigEndian(first.AsSpan(32)), count);
        if (found != count)
            return none;
        _hasMap = hasMap;
        return free;
    }

    uint MarkMapped(BitArray free)
    {
        uint found = 0;
        var map = new byte[_pageBytes];
        for (uint number = 3; number <= _databasePages; number++)
        {
            var at = (number - 2) % (_pagesPerMap + 1);
            if ((number == 3 || at == 1) && !ReadPage((uint)(number - at), map))
                Array.Clear(map);
            if (at == 0 || map[(int)(at - 1) * 5] != FreePage)
                continue;
            free[(int)number] = true;
            found++;
        }
        return found;
    }

    // fileformat2.html, "The Freelist": a trunk page has the number of the next trunk, a count, and page numbers.
    uint MarkListed(BitArray free, uint trunk, uint most)
    {
        uint found = 0;
        var page = new byte[_pageBytes];
        while (trunk != 0 && trunk <= _databasePages && found <= most && !free[(int)trunk] && ReadPage(trunk, page))
        {
            free[(int)trunk] = true;
            found++;
            var leaves = Math.Min(BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(4)), (uint)(_pageBytes / 4) - 2);
            for (var i = 0; i < leaves; i++)
            {
                var leaf = BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(8 + (4 * i)));
                if (leaf == 0 || leaf > _databasePages || free[(int)leaf])
                    return 0;
                free[(int)leaf] = true;
                found++;
            }
            trunk = BinaryPrimitives.ReadUInt32BigEndian(page);
        }
        return found;
    }

    // The children of an interior page; the last is the right-most one, with the highest rows.
    List<uint> Children(uint number)
    {
        var children = new List<uint>();
        var page = new byte[_pageBytes];
        var header = number == 1 ? Schema.HeaderBytes : 0;
        if (!ReadPage(number, page) || page[header] is not TableInterior and not IndexInterior)
            return children;
        var cells = BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(header + 3));
        for (var i = 0; i < cells && header + 12 + (2 * i) + 2 <= _pageBytes; i++)
        {
            var cell = BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(header + 12 + (2 * i)));
            if (cell <= _pageBytes - 4)
                children.Add(BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(cell)));
        }
        children.Add(BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(header + 8)));
        return children;
    }

    uint Rightmost(uint number)
    {
        var at = number;
        for (var depth = 0; depth < MaxDepth && at > 0 && at <= Pages
            && Children(at) is { Count: > 0 } children; depth++)
            at = children[^1];
        return at;
    }

    bool IsMap(uint number) => _hasMap && number >= 2 && (number - 2) % (_pagesPerMap + 1) == 0;

    bool ReadPage(uint number, byte[] page)
    {
        if (_logged is not null)
        {
            foreach (var offset in _logged[number].Reverse())
            {
                if (_wal!.ReadPage(offset, page))
                    return true;
            }
        }
        var start = (long)(number - 1) * _pageBytes;
        if (start >= _database.Length)
            return false;
        Array.Clear(page);
        _database.Position = start;
        try
        {
            _database.ReadAtLeast(page, _pageBytes, throwOnEndOfStream: false);
            return true;
        }
        catch (IOException)
        {
            // An unreadable block: skip this page.
            return false;
        }
    }

    List<ScannedRecord> Records(uint number, byte[] page)
    {
        var records = new List<ScannedRecord>();
        var header = number == 1 ? Schema.HeaderBytes : 0;
        var isTable = page[header] == TableLeaf;
        if (!isTable && page[header] != IndexLeaf)
            return records;
        var cells = BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(header + 3));
        for (var i = 0; i < cells && header + 8 + (2 * i) + 2 <= _pageBytes; i++)
        {
            var cell = BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(header + 8 + (2 * i)));
            if (cell > header + 8 && cell < _pageBytes && ReadCellSafely(page, cell, isTable) is { } record)
                records.Add(record);
        }
        return records;
    }

    // One record must not stop the salvage of the others.
    ScannedRecord? ReadCellSafely(byte[] page, int at, bool isTable)
    {
        try
        {
            return ReadCell(page, at, isTable);
        }
        catch (Exception)
        {
            Faults++;
            return null;
        }
    }

    ScannedRecord? ReadCell(byte[] page, int at, bool isTable)
    {
        ReadOnlySpan<byte> rest = page.AsSpan(at);
        if (!TryVarint(ref rest, out var length) || length is < 2 or > MaxRecordBytes)
            return null;
        long rowId = 0;
        if (isTable && !TryVarint(ref rest, out rowId))
            return null;
        var local = LocalBytes((int)length, isTable);
        if (local > rest.Length)
            return null;
        if (local == length)
            return Parse(rowId, rest[..local]);
        if (local + 4 > rest.Length)
            return null;
        var record = new byte[length];
        rest[..local].CopyTo(record);
        var filled = FollowOverflow(BinaryPrimitives.ReadUInt32BigEndian(rest[local..]), record, local);
        return Parse(rowId, record.AsSpan(0, filled), isCut: filled < record.Length);
    }

    // fileformat2.html, "Cell payload overflow pages".
    int LocalBytes(int length, bool isTable)
    {
        var max = isTable ? _pageBytes - 35 : ((_pageBytes - 12) * 64 / 255) - 23;
        if (length <= max)
            return length;
        var min = ((_pageBytes - 12) * 32 / 255) - 23;
        var local = min + ((length - min) % (_pageBytes - 4));
        return local <= max ? local : min;
    }

    /// <returns>The number of bytes of the record that could be read.</returns>
    int FollowOverflow(uint next, byte[] record, int filled)
    {
        var page = new byte[_pageBytes];
        var before = filled;
        // Ends even if the chain is circular, because each page fills a part of the record.
        while (filled < record.Length)
        {
            // The page that led to an invalid one is damaged: do not use its content.
            if (next == 0 || !ReadPage(next, page))
                return before;
            var take = Math.Min(_pageBytes - 4, record.Length - filled);
            page.AsSpan(4, take).CopyTo(record.AsSpan(filled));
            before = filled;
            filled += take;
            next = BinaryPrimitives.ReadUInt32BigEndian(page);
        }
        return filled;
    }

    static ScannedRecord? Parse(long rowId, ReadOnlySpan<byte> record, bool isCut = false)
    {
        var header = record;
        if (!TryVarint(ref header, out var headerBytes))
            return null;
        // The header size includes its own varint, which may be encoded longer than necessary.
        var varintBytes = record.Length - header.Length;
        if (headerBytes < varintBytes || headerBytes > record.Length)
            return null;
        var types = record[varintBytes..(int)headerBytes];
        var body = record[(int)headerBytes..];
        var columns = new List<object?>(8);
        while (types.Length > 0)
        {
            if (!TryVarint(ref types, out var type) || columns.Count > 16)
                return null;
            if (isCut && types.Length == 0 && type >= 12 && type % 2 == 0)
                columns.Add(body.ToArray());
            else if (TryValue(ref body, type, out var value))
                columns.Add(value);
            else
                return null;
        }
        return new ScannedRecord(rowId, [.. columns], isCut);
    }

    static bool TryValue(ref ReadOnlySpan<byte> body, long type, out object? value)
    {
        value = null;
        var bytes =
            type switch { 0 or 8 or 9 => 0, >= 1 and <= 4 => (int)type, 5 => 6, 6 or 7 => 8, >= 12 => -1, _ => -2 };
        if (bytes == -2)
            return false;
        if (bytes == -1)
        {
            var length = (type - 12) / 2;
            if (length > body.Length)
                return false;
            var content = body[..(int)length];
            value = type % 2 == 0 ? content.ToArray() : Encoding.UTF8.GetString(content);
            body = body[(int)length..];
            return true;
        }
        if (bytes > body.Length)
            return false;
        if (type is 8 or 9)
            value = type - 8;
        else if (type is > 0 and < 7)
            value = Integer(body[..bytes]);
        body = body[bytes..];
        return true;
    }

    static long Integer(ReadOnlySpan<byte> bytes)
    {
        long value = (sbyte)bytes[0];
        foreach (var b in bytes[1..])
            value = (value << 8) | b;
        return value;
    }

    static bool TryVarint(ref ReadOnlySpan<byte> bytes, out long value)
    {
        value = 0;
        for (var i = 0; i < 9 && i < bytes.Length; i++)
        {
            if (i == 8)
            {
                value = (value << 8) | bytes[8];
                bytes = bytes[9..];
                return true;
            }
            value = (value << 7) | (long)(bytes[i] & 0x7F);
            if (bytes[i] < 0x80)
            {
                bytes = bytes[(i + 1)..];
                return true;
            }
        }
        return false;
    }
}
