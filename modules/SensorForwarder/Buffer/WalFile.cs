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

    readonly record struct Frame(uint Page, bool IsCommit, long Offset);

    /// <summary>Frames that SQLite will use: whole, in an unbroken chain, up to the last commit.</summary>
    public int ValidFrames { get; private set; }

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
        if ((magic & ~1u) != MagicLittleEndian
            || BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(8)) != BufferSchema.PageBytes)
        {
            // A header that was spoiled after frames were synced behind it.
            wal.HasDamage = stream.Length > HeaderBytes + (2 * FrameBytes);
            return wal;
        }
        wal.ReadFrames(header, isBigEndian: (magic & 1) != 0);
        return wal;
    }

    /// <summary>The page images by page, oldest first; behind the valid part only on request.</summary>
    public ILookup<uint, long> Pages(bool withInvalid) =>
        _frames.Take(withInvalid ? _frames.Count : ValidFrames).ToLookup(f => f.Page, f => f.Offset);

    public bool ReadPage(long offset, byte[] page) => ReadAt(_stream, offset, page);

    void ReadFrames(byte[] header, bool isBigEndian)
    {
        var sum = Checksum((0, 0), header.AsSpan(0, 24), isBigEndian);
        var isValid = sum == ReadSum(header.AsSpan(24));
        var salts = BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(16));
        var frame = new byte[FrameBytes];
        var invalidCommit = false;
        for (var offset = (long)HeaderBytes; ReadAt(_stream, offset, frame); offset += FrameBytes)
        {
            if (BinaryPrimitives.ReadUInt64BigEndian(frame.AsSpan(8)) != salts)
            {
                // Left over from before the log last started over, or spoiled itself.
                isValid = false;
                continue;
            }
            if (isValid)
            {
                sum = Checksum(sum, frame.AsSpan(0, 8), isBigEndian);
                sum = Checksum(sum, frame.AsSpan(FrameHeaderBytes), isBigEndian);
                isValid = sum == ReadSum(frame.AsSpan(16));
            }
            var isCommit = BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(4)) != 0;
            _frames.Add(new Frame(BinaryPrimitives.ReadUInt32BigEndian(frame), isCommit, offset + FrameHeaderBytes));
            if (isValid && isCommit)
                ValidFrames = _frames.Count;
            HasDamage |= invalidCommit;
            invalidCommit |= !isValid && isCommit;
        }
    }

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
