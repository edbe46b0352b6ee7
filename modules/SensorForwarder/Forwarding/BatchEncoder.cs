using System.Buffers;
using System.Buffers.Text;
using System.IO.Compression;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Encodes batches as <c>{"device":..,"module":..,"epoch":..,"batch":[{"id":1,"data":{..}},..]}</c>, with the tags of
/// the module before <c>batch</c> if there are any. The payloads from the buffer are copied unparsed. Thread-safe.
/// </summary>
internal sealed class BatchEncoder
{
    const int MaxIdDigits = 19;

    // If not all readings fit, a compressed batch may be 1/64 smaller than the limit. A closer fit would take more
    // compressions.
    const int SlackDivisor = 64;

    // The first attempts estimate the number of readings from the sizes so far; later ones bisect.
    const int Guesses = 4;
    const int Attempts = 8;

    // Bounds of the payload that is read for a compressed batch, because several copies of it are in memory: 32 times
    // the limit of the compressed body, and 4 MiB (or that limit, if it is larger).
    const int RatioMax = 32;
    const int PlainBytesMax = 4 << 20;

    static readonly JsonEncodedText TagsName = JsonEncodedText.Encode("tags");

    readonly string _device;
    readonly string _module;
    volatile Head _head;

    // Compressed bytes per plain byte in the last batch.
    volatile float _ratio = 1 / 8f;

    public BatchEncoder(string device, string module)
    {
        (_device, _module) = (device, module);
        _head = Write("", Tags.None);
    }

    /// <summary>Tags of the module, for the batches encoded from now on.</summary>
    public Tags Tags
    {
        get => Volatile.Read(ref field);
        set => Volatile.Write(ref field, value);
    } = Tags.None;

    static ReadOnlySpan<byte> Tail => "]}"u8;

    /// <summary>Bytes of payload to read for a batch that may have <paramref name="maxBytes"/> as gzip.</summary>
    public static int PlainBytes(int maxBytes) =>
        (int)Math.Min((long)maxBytes * RatioMax, Math.Max(maxBytes, PlainBytesMax));

    /// <summary>Compresses two consecutive pieces of a body.</summary>
    public static byte[] Compress(ReadOnlySpan<byte> body, ReadOnlySpan<byte> rest)
    {
        using var compressed = new MemoryStream((body.Length / 8) + 256);
        using (var gzip = new GZipStream(compressed, CompressionLevel.Optimal, leaveOpen: true))
        {
            gzip.Write(body);
            gzip.Write(rest);
        }

        return compressed.ToArray();
    }

    /// <summary>Encodes as many of the first readings as fit into <paramref name="maxBytes"/>, but at least one: the
    /// sink refuses a single reading that is too large. Copies the payloads.</summary>
    /// <param name="readings">At least one, all of the same epoch.</param>
    /// <param name="maxBytes">The limit of the body, or of the compressed body.</param>
    /// <param name="isGzip">Whether the batch is compressed. It may stay up to 1/64 below the limit.</param>
    public Batch Encode(
        IReadOnlyList<BufferedReading> readings, int maxBytes, Lane lane = Lane.Live, bool isGzip = false)
    {
        if (!isGzip) return EncodePlain(readings, maxBytes, lane);
        var all = EncodePlain(readings, int.MaxValue, lane);
        var (count, gzip) = Fit(all, maxBytes);
        var batch = count == readings.Count ? all : EncodePlain([.. readings.Take(count)], int.MaxValue, lane);
        return batch with { Gzip = gzip };
    }

    Batch EncodePlain(IReadOnlyList<BufferedReading> readings, int maxBytes, Lane lane)
    {
        var epoch = readings[0].Epoch;
        var (tags, current) = (Tags, _head);
        if (current.Epoch != epoch || !ReferenceEquals(current.Tags, tags)) _head = current = Write(epoch, tags);
        var head = current.Bytes;
        var sent = readings.ToArray();
        var count = 0;
        var bytes = head.Length + Tail.Length;
        while (count < sent.Length)
        {
            var more = EntryBytes(sent[count]) + (count > 0 ? 1 : 0);
            if (count > 0 && bytes + more > maxBytes) break;
            bytes += more;
            count++;
        }

        Array.Resize(ref sent, count);

        // The payloads of the batch are slices of its body, so that each is in memory once.
        var body = GC.AllocateUninitializedArray<byte>(bytes);
        var at = Append(body, 0, head);
        for (var i = 0; i < count; i++)
        {
            ref var reading = ref sent[i];
            if (i > 0) body[at++] = (byte)',';
            at = Append(body, at, "{\"id\":"u8);
            Utf8Formatter.TryFormat(reading.Id, body.AsSpan(at), out var digits);
            var start = Append(body, at + digits, ",\"data\":"u8);
            at = Append(body, start, reading.Payload.Span);
            reading = reading with { Payload = body.AsMemory(start, at - start) };
            body[at++] = (byte)'}';
        }

        Append(body, at, Tail);
        return new(epoch, sent, body) { Lane = lane, Tags = tags };
    }

    /// <summary>The number of readings, at least one, that fit into <paramref name="maxBytes"/> as gzip, and the
    /// compressed body.</summary>
    (int Count, byte[] Gzip) Fit(Batch all, int maxBytes)
    {
        var ends = new int[all.Readings.Count];
        ends[^1] = all.Body.Length - Tail.Length;
        for (var i = ends.Length - 1; i > 0; i--) ends[i - 1] = ends[i] - EntryBytes(all.Readings[i]) - ",".Length;

        var (fits, tooMany, best) = (0, ends.Length + 1, Array.Empty<byte>());
        var (lastPlain, lastBytes) = (0, 0);
        var aim = maxBytes - (maxBytes / SlackDivisor / 2.0);
        var count = CountWithin(aim / _ratio);
        for (var attempt = 1; ; attempt++)
        {
            var plain = ends[count - 1];
            var gzip = Compress(all.Body.Span[..plain], Tail);
            if (gzip.Length <= maxBytes || count == 1) (fits, best) = (count, gzip);
            else tooMany = count;
            var isClose = fits == count && gzip.Length >= maxBytes - (maxBytes / SlackDivisor);
            if (isClose || fits + 1 == tooMany || (attempt >= Attempts && fits > 0)) break;

            // The last two sizes show how many compressed bytes one more plain byte adds.
            var slope = (double)(gzip.Length - lastBytes) / (plain - lastPlain);
            count = attempt < Guesses && slope > 0
                ? CountWithin(plain + ((aim - gzip.Length) / slope))
                : (fits + tooMany) / 2;
            count = Math.Clamp(count, fits + 1, tooMany - 1);
            (lastPlain, lastBytes) = (plain, gzip.Length);
        }

        _ratio = (float)best.Length / ends[fits - 1];
        return (fits, best);

        int CountWithin(double plainBytes)
        {
            var found = Array.BinarySearch(ends, (int)Math.Clamp(plainBytes, 0, int.MaxValue));
            return Math.Clamp(found < 0 ? ~found : found + 1, 1, ends.Length);
        }
    }

    Head Write(string epoch, Tags tags)
    {
        var head = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(head))
        {
            json.WriteStartObject();
            json.WriteString("device"u8, _device);
            json.WriteString("module"u8, _module);
            json.WriteString("epoch"u8, epoch);
            tags.WriteTo(json, TagsName);
            json.WriteEndObject();
        }

        // The object stays open for the batch.
        return new(epoch, tags, [.. head.WrittenSpan[..^1], .. ",\"batch\":["u8]);
    }

    static int Append(byte[] target, int at, ReadOnlySpan<byte> source)
    {
        source.CopyTo(target.AsSpan(at));
        return at + source.Length;
    }

    static int EntryBytes(in BufferedReading reading)
    {
        Span<byte> digits = stackalloc byte[MaxIdDigits + 1];
        Utf8Formatter.TryFormat(reading.Id, digits, out var length);
        return "{\"id\":,\"data\":}".Length + length + reading.Payload.Length;
    }

    sealed record Head(string Epoch, Tags Tags, byte[] Bytes);
}
