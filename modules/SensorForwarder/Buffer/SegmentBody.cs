using System.Buffers;
using System.Buffers.Binary;
using System.Buffers.Text;
using System.IO.Compression;

namespace SensorForwarder.Buffer;

/// <summary>A reading as it is stored.</summary>
/// <param name="RecordedAtMs">Unix milliseconds, uncorrected.</param>
/// <param name="Clock">The <see cref="ClockSegment"/> in which it was measured.</param>
/// <param name="Payload">The UTF-8 JSON of <c>data</c>.</param>
internal readonly record struct StoredReading(long Id, long RecordedAtMs, int Clock, ReadOnlyMemory<byte> Payload);

/// <summary>Builds the text of a segment's body from readings in order of ids, one line each:
/// <c>ID TAB UNIX-MS TAB CLOCK TAB JSON</c>.</summary>
internal sealed class SegmentText
{
    const int MaxPrefixBytes = 64;

    // More than a full segment of usual readings needs. Kept for the next one, as a new array of that size for each
    // segment would be on the large object heap, which is collected rarely.
    const int KeptBytes = 2 * Segments.MaxTextBytes;

    ArrayBufferWriter<byte> _text = new(1_024);

    public int Count { get; private set; }

    public long FirstId { get; private set; }

    public long LastId { get; private set; }

    public long OldestAtMs { get; private set; }

    public long NewestAtMs { get; private set; }

    public int Bytes => _text.WrittenCount;

    /// <summary>Further readings belong in another segment.</summary>
    public bool IsFull => Count == Segments.MaxReadings || Bytes >= Segments.MaxTextBytes;

    public void Add(long id, long recordedAtMs, int clock, ReadOnlySpan<byte> payload)
    {
        var line = _text.GetSpan(MaxPrefixBytes + payload.Length + 1);
        var at = 0;
        foreach (var number in (ReadOnlySpan<long>)[id, recordedAtMs, clock])
        {
            Utf8Formatter.TryFormat(number, line[at..], out var written);
            line[at + written] = (byte)'\t';
            at += written + 1;
        }
        payload.CopyTo(line[at..]);
        // JSON allows line breaks only between tokens, where a space means the same.
        line.Slice(at, payload.Length).Replace((byte)'\n', (byte)' ');
        line[at + payload.Length] = (byte)'\n';
        _text.Advance(at + payload.Length + 1);
        (OldestAtMs, NewestAtMs) = Count == 0
            ? (recordedAtMs, recordedAtMs)
            : (Math.Min(OldestAtMs, recordedAtMs), Math.Max(NewestAtMs, recordedAtMs));
        FirstId = Count == 0 ? id : FirstId;
        LastId = id;
        Count++;
    }

    /// <summary>The body: gzip, so that <c>zcat</c> can show it and its CRC detects a flipped bit.</summary>
    public byte[] Compress(CompressionLevel level)
    {
        using var body = new MemoryStream((Bytes / 4) + 64);
        using (var gzip = new GZipStream(body, level))
            gzip.Write(_text.WrittenSpan);
        return body.ToArray();
    }

    /// <summary>The readings, with a copy of the text.</summary>
    public StoredReading[] Parse() => SegmentBody.Parse(_text.WrittenSpan.ToArray(), out _);

    public void Clear()
    {
        Count = 0;
        if (_text.Capacity > KeptBytes)
            _text = new(1_024);
        else
            _text.ResetWrittenCount();
    }
}

/// <summary>Decodes bodies of segments. Pure; any thread.</summary>
internal static class SegmentBody
{
    // Room for 512 readings of the largest payload; a body that decompresses to more is damaged.
    const int MaxTextBytes = 600 << 20;

    // The memory for the text is allocated at once only up to this ratio: a damaged trailer can state any length.
    const int UsualRatioMax = 32;

    /// <summary>Decodes a body.</summary>
    /// <param name="isWhole">Whether it is undamaged.</param>
    /// <returns>All its readings; none when it is damaged or cut off.</returns>
    public static StoredReading[] Read(byte[] body, out bool isWhole)
    {
        isWhole = false;
        var text = Decompress(body, out var isIntact);
        if (!isIntact)
            return [];
        var readings = Parse(text, out var isParsed);
        // GZipStream accepts a stream that ends early; the length in the trailer shows it.
        isWhole = isParsed && readings.Length > 0 && body.Length > 18 && LengthInTrailer(body) == text.Length;
        return isWhole ? readings : [];
    }

    /// <summary>Decodes the readings at the beginning of a body whose end is lost.</summary>
    public static StoredReading[] ReadBeginning(byte[] body) => Parse(Decompress(body, out _), out _);

    // The text up to the end or the first damage.
    static ReadOnlyMemory<byte> Decompress(byte[] body, out bool isIntact)
    {
        // One byte more than the text, so that the end is noticed without growing.
        var text = GC.AllocateUninitializedArray<byte>(
            (int)Math.Min(LengthInTrailer(body), Math.Min((long)body.Length * UsualRatioMax, MaxTextBytes)) + 1);
        var length = 0;
        isIntact = true;
        try
        {
            using var gzip = new GZipStream(new MemoryStream(body), CompressionMode.Decompress);
            while (isIntact && gzip.Read(text, length, text.Length - length) is var read and > 0)
            {
                length += read;
                isIntact = length <= MaxTextBytes;
                if (isIntact && length == text.Length)
                    Array.Resize(ref text, 2 * length);
            }
        }
        catch (InvalidDataException)
        {
            isIntact = false; // the text before the damage is usable
        }
        return text.AsMemory(0, length);
    }

    static long LengthInTrailer(byte[] body) =>
        body.Length < 4 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(body.AsSpan(body.Length - 4));

    /// <summary>Parses lines until the first that is incomplete, invalid, or whose id is not ascending.</summary>
    /// <param name="isWhole">Whether all of the text was parsed.</param>
    public static StoredReading[] Parse(ReadOnlyMemory<byte> text, out bool isWhole)
    {
        var readings = new StoredReading[text.Span.Count((byte)'\n')];
        var count = 0;
        isWhole = true;
        var id = 0L;
        while (!text.IsEmpty)
        {
            var end = text.Span.IndexOf((byte)'\n');
            if (end < 0 || !TryParse(text[..end], out var reading) || reading.Id <= id)
            {
                isWhole = false;
                break;
            }
            readings[count++] = reading;
            id = reading.Id;
            text = text[(end + 1)..];
        }
        return count == readings.Length ? readings : readings[..count];
    }

    static bool TryParse(ReadOnlyMemory<byte> line, out StoredReading reading)
    {
        reading = default;
        if (!TryNumber(ref line, out var id) || !TryNumber(ref line, out var recordedAtMs)
            || !TryNumber(ref line, out var clock) || clock is < 0 or > int.MaxValue)
        {
            return false;
        }
        reading = new(id, recordedAtMs, (int)clock, line);
        return true;
    }

    static bool TryNumber(ref ReadOnlyMemory<byte> line, out long number)
    {
        if (!Utf8Parser.TryParse(line.Span, out number, out var read) || read >= line.Length
            || line.Span[read] != (byte)'\t')
        {
            return false;
        }
        line = line[(read + 1)..];
        return true;
    }
}
