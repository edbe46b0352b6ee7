using System.Buffers.Binary;
using System.Text;

namespace SensorForwarder.Buffer;

/// <summary>One record of a damaged file: the rowid (0 in a table without) and its columns as long, string (text),
/// byte[] (blob) or null.</summary>
internal readonly record struct ScannedRecord(long RowId, object?[] Columns);

/// <summary>
/// Reads records out of the leaf pages of a damaged database, page by page, trusting nothing: neither the header nor
/// the tree above the leaves. The write-ahead log lies over the database as SQLite would see it, and behind its
/// first fault as far as it goes. Format: https://www.sqlite.org/fileformat2.html
/// </summary>
internal sealed class PageScanner(Stream database, WalFile? wal)
{
    const int PageBytes = BufferSchema.PageBytes;
    const int DatabaseHeaderBytes = 100;
    const byte TableLeaf = 0x0D;
    const byte IndexLeaf = 0x0A;

    // Pointer map: one entry of five bytes for each page behind it; its type 2 says that the page is free.
    const int PagesPerMap = PageBytes / 5;
    const byte FreePage = 2;

    // A record that claims more is damaged: no payload, document or answer comes near it.
    const int MaxRecordBytes = 4 << 20;

    const byte TableInterior = 0x05;
    const byte IndexInterior = 0x02;

    // The roots of all tables and, as long as these are small, the rest of them; and where a file grows.
    const uint FirstPages = 64;
    const uint LastPages = 64;
    const int MaxDepth = 20;

    readonly ILookup<uint, long>? _logged = wal?.Pages();
    readonly long[] _doubtful = [.. wal?.DoubtfulImages() ?? []];
    readonly byte[] _page = new byte[PageBytes];
    readonly byte[] _mapPage = new byte[PageBytes];
    uint _mapNumber;
    bool? _trustsMap;

    // Of the database and of the log over it.
    readonly uint _databasePages = CountPages(database, wal);

    /// <summary>Records that were skipped because reading them failed in an unexpected way; 0 unless the program has a
    /// fault.</summary>
    public int Faults { get; private set; }

    /// <summary>Pages of the database with the log over it, and behind them the images in spoiled frames of the log,
    /// which come last since each of their readings may be there in a better one.</summary>
    public uint Pages => _databasePages + (uint)_doubtful.Length;

    /// <summary>All records of the file. Takes time in proportion to it.</summary>
    public IEnumerable<ScannedRecord> Scan()
    {
        for (uint number = 1; number <= Pages; number++)
        {
            foreach (var record in Records(number))
                yield return record;
        }
    }

    /// <summary>The records of a few pages that take bounded time to read: those of the small tables as a rule, and the
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

    /// <summary>The records of one page; none when it is no leaf or is free.</summary>
    public List<ScannedRecord> Records(uint number)
    {
        if (number > _databasePages)
            return wal!.ReadPage(_doubtful[number - _databasePages - 1], _page) ? Records(number, _page) : [];
        _trustsMap ??= TrustsMap();
        return IsMap(number) || (_trustsMap.Value && IsFree(number)) || !ReadPage(number, _page)
            ? []
            : Records(number, _page);
    }

    static uint CountPages(Stream database, WalFile? wal)
    {
        var count = (uint)Math.Min(uint.MaxValue - 1, (database.Length + PageBytes - 1) / PageBytes);
        foreach (var logged in wal?.Pages().Select(g => g.Key) ?? [])
            // A frame that names a page far beyond the file is damaged itself.
            count = logged < count + 4_000_000 ? Math.Max(count, logged) : count;
        return count;
    }

    // The header counts the free pages as well. Where the two disagree one of them was hit, and a reading that is sent
    // again is better than one that is lost.
    bool TrustsMap()
    {
        var page = new byte[PageBytes];
        return ReadPage(1, page) && CountFree(_databasePages) == BinaryPrimitives.ReadUInt32BigEndian(page.AsSpan(36));
    }

    // Of a page above the leaves: what its cells point to, and the last one, which has the highest rows.
    List<uint> Children(uint number)
    {
        var children = new List<uint>();
        var page = new byte[PageBytes];
        var header = number == 1 ? DatabaseHeaderBytes : 0;
        if (!ReadPage(number, page) || page[header] is not TableInterior and not IndexInterior)
            return children;
        var cells = BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(header + 3));
        for (var i = 0; i < cells && header + 12 + (2 * i) + 2 <= PageBytes; i++)
        {
            var cell = BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(header + 12 + (2 * i)));
            if (cell <= PageBytes - 4)
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

    static bool IsMap(uint number) => number >= 2 && (number - 2) % (PagesPerMap + 1) == 0;

    uint CountFree(uint pages)
    {
        uint free = 0;
        for (uint number = 3; number <= pages; number++)
            free += !IsMap(number) && IsFree(number) ? 1u : 0;
        return free;
    }

    // Rows on free pages were deleted, since they were delivered.
    bool IsFree(uint number)
    {
        if (number < 3)
            return false;
        var map = ((number - 2) / (PagesPerMap + 1) * (PagesPerMap + 1)) + 2;
        if (_mapNumber != map)
        {
            _mapNumber = map;
            if (!ReadPage(map, _mapPage))
                Array.Clear(_mapPage);
        }
        return _mapPage[(int)(number - map - 1) * 5] == FreePage;
    }

    bool ReadPage(uint number, byte[] page)
    {
        if (_logged is not null)
        {
            foreach (var offset in _logged[number].Reverse())
            {
                if (wal!.ReadPage(offset, page))
                    return true;
            }
        }
        var start = (long)(number - 1) * PageBytes;
        if (start >= database.Length)
            return false;
        Array.Clear(page);
        database.Position = start;
        try
        {
            database.ReadAtLeast(page, PageBytes, throwOnEndOfStream: false);
            return true;
        }
        catch (IOException)
        {
            // A bad block: the other pages are still there.
            return false;
        }
    }

    List<ScannedRecord> Records(uint number, byte[] page)
    {
        var records = new List<ScannedRecord>();
        var header = number == 1 ? DatabaseHeaderBytes : 0;
        var isTable = page[header] == TableLeaf;
        if (!isTable && page[header] != IndexLeaf)
            return records;
        var cells = BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(header + 3));
        for (var i = 0; i < cells && header + 8 + (2 * i) + 2 <= PageBytes; i++)
        {
            var cell = BinaryPrimitives.ReadUInt16BigEndian(page.AsSpan(header + 8 + (2 * i)));
            if (cell > header + 8 && cell < PageBytes && ReadCellSafely(page, cell, isTable) is { } record)
                records.Add(record);
        }
        return records;
    }

    // No record may end the salvage of the others: without this, one that is parsed wrongly would cost the whole file.
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
        var rest = page.AsSpan(at);
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
        return FollowOverflow(BinaryPrimitives.ReadUInt32BigEndian(rest[local..]), record, local)
            ? Parse(rowId, record)
            : null;
    }

    // fileformat2.html, "Cell payload overflow pages".
    static int LocalBytes(int length, bool isTable)
    {
        var max = isTable ? PageBytes - 35 : ((PageBytes - 12) * 64 / 255) - 23;
        if (length <= max)
            return length;
        const int Min = ((PageBytes - 12) * 32 / 255) - 23;
        var local = Min + ((length - Min) % (PageBytes - 4));
        return local <= max ? local : Min;
    }

    bool FollowOverflow(uint next, byte[] record, int filled)
    {
        var page = new byte[PageBytes];
        // Bounded by the length, which falls with each page: a chain that bites its tail ends as well.
        while (filled < record.Length)
        {
            if (next == 0 || !ReadPage(next, page))
                return false;
            var take = Math.Min(PageBytes - 4, record.Length - filled);
            page.AsSpan(4, take).CopyTo(record.AsSpan(filled));
            filled += take;
            next = BinaryPrimitives.ReadUInt32BigEndian(page);
        }
        return true;
    }

    static ScannedRecord? Parse(long rowId, ReadOnlySpan<byte> record)
    {
        var header = record;
        if (!TryVarint(ref header, out var headerBytes))
            return null;
        // The header includes this varint, which can be longer than it needs to be.
        var varintBytes = record.Length - header.Length;
        if (headerBytes < varintBytes || headerBytes > record.Length)
            return null;
        var types = record[varintBytes..(int)headerBytes];
        var body = record[(int)headerBytes..];
        var columns = new List<object?>(8);
        while (types.Length > 0)
        {
            if (!TryVarint(ref types, out var type) || columns.Count > 16 || !TryValue(ref body, type, out var value))
                return null;
            columns.Add(value);
        }
        return new ScannedRecord(rowId, [.. columns]);
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

    static bool TryVarint(ref Span<byte> bytes, out long value)
    {
        ReadOnlySpan<byte> rest = bytes;
        var read = TryVarint(ref rest, out value);
        bytes = bytes[(bytes.Length - rest.Length)..];
        return read;
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
