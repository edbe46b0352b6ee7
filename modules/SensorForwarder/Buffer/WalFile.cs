using System.Buffers.Binary;

namespace SensorForwarder.Buffer;

/// <summary>A write-ahead log as bytes, read without SQLite, which forgets everything behind the first frame that it
/// can't verify. Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log</summary>
internal sealed class WalFile
{
    const int HeaderBytes = 32;
    const int FrameHeaderBytes = 24;
    const int FrameBytes = FrameHeaderBytes + BufferSchema.PageBytes;
    const uint MagicLittleEndian = 0x377f0682;

    readonly Stream _stream;
    readonly List<Frame> _frames = [];

    WalFile(Stream stream) => _stream = stream;

    readonly record struct Frame(uint Page, bool IsWhole, long Offset);

    /// <summary>
    /// Whether frames behind the valid ones had been synced, and so were damaged afterwards. Each transaction is synced
    /// before the next one is written, so a power cut can spoil the last transaction only; a commit in the invalid part
    /// with a frame of the same log behind it means that more than the last one is spoiled.
    /// </summary>
    public bool HasDamage { get; private set; }

    /// <summary>Reads the frame headers and checks the chain. Takes time in proportion to the file.</summary>
    public static WalFile Read(Stream stream)
    {
        var wal = new WalFile(stream);
        var header = new byte[HeaderBytes];
        if (!ReadAt(stream, 0, header))
            return wal;
        var magic = BinaryPrimitives.ReadUInt32BigEndian(header);
        var isOurs = (magic & ~1u) == MagicLittleEndian
            && BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8)) == BufferSchema.PageBytes;
        wal.ReadFrames(header, isOurs, isBigEndian: isOurs && (magic & 1) != 0);
        // A header that was spoiled after frames were synced behind it.
        if (!isOurs)
            wal.HasDamage = stream.Length > HeaderBytes + (2 * FrameBytes);
        return wal;
    }

    /// <summary>Images by page, oldest first, of frames that are whole by themselves, wherever the chain is broken.
    /// </summary>
    public ILookup<uint, long> Pages() => _frames.Where(f => f.IsWhole).ToLookup(f => f.Page, f => f.Offset);

    /// <summary>Images in frames that were hit somewhere, be it in their page number.</summary>
    public IEnumerable<long> DoubtfulImages() => _frames.Where(f => !f.IsWhole).Select(f => f.Offset);

    public bool ReadPage(long offset, byte[] page) => ReadAt(_stream, offset, page);

    void ReadFrames(byte[] header, bool isOurs, bool isBigEndian)
    {
        // SQLite's chain from the header on, and each frame by itself behind the sum that stands in the one before.
        var sum = Checksum((0, 0), header.AsSpan(0, 24), isBigEndian);
        var isValid = isOurs && sum == ReadSum(header.AsSpan(24));
        var before = ReadSum(header.AsSpan(24));
        var frame = new byte[FrameBytes];
        var salts = isValid ? Salts(header.AsSpan(16)) : MostLikelySalts(header);
        var invalidCommit = false;
        var others = new List<Frame>();
        for (var offset = (long)HeaderBytes; ReadAt(_stream, offset, frame); offset += FrameBytes)
        {
            var stored = ReadSum(frame.AsSpan(16));
            var own = Checksum(Checksum(before, frame.AsSpan(0, 8), isBigEndian), frame.AsSpan(FrameHeaderBytes), isBigEndian);
            before = stored;
            var page = BinaryPrimitives.ReadUInt32BigEndian(frame);
            if (Salts(frame.AsSpan(8)) != salts)
            {
                // Left over from before the log last started over; but in front of frames of this log it is spoiled.
                isValid = false;
                others.Add(new Frame(page, IsWhole: false, offset + FrameHeaderBytes));
                continue;
            }
            _frames.AddRange(others);
            others.Clear();
            _frames.Add(new Frame(page, own == stored, offset + FrameHeaderBytes));
            isValid &= own == stored;
            var isCommit = BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(4)) != 0;
            HasDamage |= invalidCommit;
            invalidCommit |= !isValid && isCommit;
        }
    }

    // A spoiled header does not tell for sure which frames are of this log, and the first frame may be spoiled as well. But
    // those of this log come first: it is the first value that stands there twice.
    ulong MostLikelySalts(byte[] header)
    {
        var values = new List<ulong> { Salts(header.AsSpan(16)) };
        var start = new byte[FrameHeaderBytes];
        for (var offset = (long)HeaderBytes; offset + FrameBytes <= _stream.Length && ReadAt(_stream, offset, start); offset += FrameBytes)
            values.Add(Salts(start.AsSpan(8)));
        var seen = values.CountBy(value => value).ToDictionary();
        return values.FirstOrDefault(value => seen[value] > 1, values[0]);
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
        stream.Position = offset;
        return stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) == bytes.Length;
    }
}
