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
        var isValid = isOurs && Checksum((0, 0), header.AsSpan(0, 24), isBigEndian) == ReadSum(header.AsSpan(24));
        var before = ReadSum(header.AsSpan(24));
        var bytes = new byte[FrameBytes];
        var all = new List<(Frame Frame, ulong Salts, bool IsCommit)>();
        for (var offset = (long)HeaderBytes; offset + FrameBytes <= _stream.Length; offset += FrameBytes)
        {
            // A bad block costs its frame, and the one behind it can't be verified.
            if (!ReadAt(_stream, offset, bytes))
            {
                HasDamage = true;
                continue;
            }
            var stored = ReadSum(bytes.AsSpan(16));
            var own = Checksum(Checksum(
                before, bytes.AsSpan(0, 8), isBigEndian), bytes.AsSpan(FrameHeaderBytes), isBigEndian);
            before = stored;
            // Zeros have a sum of zero, but no page has that number.
            var page = BinaryPrimitives.ReadUInt32BigEndian(bytes);
            all.Add((new Frame(page, own == stored && page != 0, offset + FrameHeaderBytes),
                Salts(bytes.AsSpan(8)), BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(4)) != 0));
        }
        // A spoiled header does not tell which frames are of this log, but the first whole one does.
        var salts = Salts(header.AsSpan(16));
        if (!isValid)
            salts = all.Where(f => f.Frame.IsWhole).Select(f => f.Salts).FirstOrDefault(salts);

        var invalidCommit = false;
        var others = new List<Frame>();
        foreach (var (frame, frameSalts, isCommit) in all)
        {
            if (frameSalts != salts)
            {
                // Left over from before the log last started over; but in front of frames of this log it is spoiled.
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
            // A bad block: the rest can still be read.
            return false;
        }
    }
}
