using System.Buffers.Binary;

namespace SensorForwarder.Buffer;

/// <summary>Reads a WAL without SQLite, which would discard everything after the first invalid frame. Not thread-safe.
/// Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log</summary>
internal sealed class WalFile
{
    const int HeaderBytes = 32;
    const int FrameHeaderBytes = 24;
    const int SectorBytes = 512;
    const uint MagicLittleEndian = 0x377f0682;

    readonly Stream _stream;
    readonly List<Frame> _frames = [];

    readonly int _frameBytes;

    WalFile(Stream stream, int pageBytes) => (_stream, _frameBytes) = (stream, FrameHeaderBytes + pageBytes);

    readonly record struct Frame(uint Page, bool IsWhole, long Offset);

    /// <summary>
    /// Whether frames are invalid that had been synced, so that the WAL was damaged afterwards. Each transaction is
    /// synced before the next is written, so a power cut can leave only the last one invalid. A commit frame in the
    /// invalid part that is followed by another frame of the same WAL therefore means damage.
    /// </summary>
    public bool HasDamage { get; private set; }

    /// <summary>Reads all frames and verifies their checksums; takes time in proportion to the file.</summary>
    public static WalFile Read(Stream stream, int pageBytes)
    {
        var wal = new WalFile(stream, pageBytes);
        var header = new byte[HeaderBytes];
        if (!ReadAt(stream, 0, header))
            return wal;
        var magic = BinaryPrimitives.ReadUInt32BigEndian(header);
        var isOurs = (magic & ~1u) == MagicLittleEndian
            && BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8)) == pageBytes;
        wal.ReadFrames(header, isOurs, isBigEndian: isOurs && (magic & 1) != 0);
        // An invalid header before synced frames is damage.
        if (!isOurs)
            wal.HasDamage = stream.Length > HeaderBytes + (2 * wal._frameBytes);
        return wal;
    }

    /// <summary>The offsets of page images in intact frames, by page, oldest first; also after an invalid
    /// frame.</summary>
    public ILookup<uint, long> Pages() => _frames.Where(f => f.IsWhole).ToLookup(f => f.Page, f => f.Offset);

    /// <summary>The offsets of page images in damaged frames, whose page number may be wrong.</summary>
    public IEnumerable<long> DoubtfulImages() => _frames.Where(f => !f.IsWhole).Select(f => f.Offset);

    public bool ReadPage(long offset, byte[] page) => ReadAt(_stream, offset, page);

    void ReadFrames(byte[] header, bool isOurs, bool isBigEndian)
    {
        // Checksums are chained from the header on. To verify a frame after an invalid one, use the checksum stored
        // there.
        var isValid = isOurs && Checksum((0, 0), header.AsSpan(0, 24), isBigEndian) == ReadSum(header.AsSpan(24));
        var before = ReadSum(header.AsSpan(24));
        var bytes = new byte[_frameBytes];
        var all = new List<(Frame Frame, ulong Salts, bool IsCommit)>();
        for (var offset = (long)HeaderBytes; offset + _frameBytes <= _stream.Length; offset += _frameBytes)
        {
            // An unreadable block: this frame is lost and the next can't be verified.
            if (!ReadAt(_stream, offset, bytes))
            {
                HasDamage = true;
                continue;
            }
            var stored = ReadSum(bytes.AsSpan(16));
            var own = Checksum(Checksum(
                before, bytes.AsSpan(0, 8), isBigEndian), bytes.AsSpan(FrameHeaderBytes), isBigEndian);
            before = stored;
            // A frame of zeros has a valid checksum, but page number 0 does not exist.
            var page = BinaryPrimitives.ReadUInt32BigEndian(bytes);
            var isWhole = own == stored && page != 0;
            // If a sector ends inside the header, a power cut may leave the commit mark of an older frame there.
            var isOneSector = offset / SectorBytes == (offset + 15) / SectorBytes;
            var isCommit = (isWhole || isOneSector) && BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(4)) != 0;
            all.Add((new Frame(page, isWhole, offset + FrameHeaderBytes), Salts(bytes.AsSpan(8)), isCommit));
        }
        // With a damaged header, the salts of the first intact frame tell which frames belong to this WAL.
        var salts = Salts(header.AsSpan(16));
        if (!isValid)
            salts = all.Where(f => f.Frame.IsWhole).Select(f => f.Salts).FirstOrDefault(salts);

        var invalidCommit = false;
        var others = new List<Frame>();
        foreach (var (frame, frameSalts, isCommit) in all)
        {
            if (frameSalts != salts)
            {
                // Left from before the WAL last restarted. If frames of this WAL follow, the frame is damaged.
                isValid = false;
                others.Add(frame with { IsWhole = false });
                continue;
            }
            _frames.AddRange(others);
            others.Clear();
            _frames.Add(frame);
            isValid &= frame.IsWhole;
            HasDamage |= invalidCommit;
            invalidCommit |= !isValid && isCommit;
        }
    }

    static ulong Salts(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt64BigEndian(bytes);

    static (uint, uint) Checksum((uint A, uint B) sum, ReadOnlySpan<byte> bytes, bool isBigEndian)
    {
        var (a, b) = sum;
        for (; bytes.Length >= 8; bytes = bytes[8..])
        {
            a += Word(bytes, isBigEndian) + b;
            b += Word(bytes[4..], isBigEndian) + a;
        }
        return (a, b);
    }

    static uint Word(ReadOnlySpan<byte> bytes, bool isBigEndian) => isBigEndian
        ? BinaryPrimitives.ReadUInt32BigEndian(bytes)
        : BinaryPrimitives.ReadUInt32LittleEndian(bytes);

    static (uint, uint) ReadSum(ReadOnlySpan<byte> bytes) =>
        (BinaryPrimitives.ReadUInt32BigEndian(bytes), BinaryPrimitives.ReadUInt32BigEndian(bytes[4..]));

    static bool ReadAt(Stream stream, long offset, byte[] bytes)
    {
        if (offset + bytes.Length > stream.Length)
            return false;
        try
        {
            stream.Position = offset;
            return stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) == bytes.Length;
        }
        catch (IOException)
        {
            // An unreadable block: skip it.
            return false;
        }
    }
}
