using System.Buffers;
using System.Buffers.Text;
using System.Text.Json;
using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Writes <c>{"device":..,"module":..,"epoch":..,"batch":[{"id":1,"data":{..}},..]}</c>. What the buffer stored is
/// copied as it is, neither parsed nor formatted again. Thread-safe.
/// </summary>
internal sealed class BatchEncoder
{
    const int MaxIdDigits = 19;
    readonly string _device;
    readonly string _module;
    readonly Func<string> _epoch;
    volatile Head _head;

    /// <param name="device">The device in the body.</param>
    /// <param name="module">The module in the body.</param>
    /// <param name="epoch">The epoch of the buffer now: a salvage while the module runs begins a new one.</param>
    public BatchEncoder(string device, string module, Func<string> epoch)
    {
        (_device, _module, _epoch) = (device, module, epoch);
        _head = Write(epoch());
    }

    static ReadOnlySpan<byte> Tail => "]}"u8;

    /// <summary>Encodes the readings from the first on, as many as fit into <paramref name="maxBytes"/>, but at least
    /// one: whether a single one is too large is for the sink to say. Their payloads are copied.</summary>
    public Batch Encode(IReadOnlyList<BufferedReading> readings, int maxBytes, Lane lane = Lane.Live)
    {
        var epoch = _epoch();
        if (_head.Epoch != epoch) _head = Write(epoch);
        var head = _head.Bytes;
        var count = 0;
        var bytes = head.Length + Tail.Length;
        while (count < readings.Count)
        {
            var more = EntryBytes(readings[count]) + (count > 0 ? 1 : 0);
            if (count > 0 && bytes + more > maxBytes) break;
            bytes += more;
            count++;
        }

        // The readings of the batch point into its body, so that what was read is kept in memory once.
        var body = new byte[bytes];
        var sent = new BufferedReading[count];
        var at = Append(body, 0, head);
        for (var i = 0; i < count; i++)
        {
            var reading = readings[i];
            if (i > 0) body[at++] = (byte)',';
            at = Append(body, at, "{\"id\":"u8);
            Utf8Formatter.TryFormat(reading.Id, body.AsSpan(at), out var digits);
            var start = Append(body, at + digits, ",\"data\":"u8);
            at = Append(body, start, reading.Payload.Span);
            sent[i] = reading with { Payload = body.AsMemory(start, at - start) };
            body[at++] = (byte)'}';
        }

        Append(body, at, Tail);
        return new(epoch, sent, body) { Lane = lane };
    }

    Head Write(string epoch)
    {
        var head = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(head))
        {
            json.WriteStartObject();
            json.WriteString("device"u8, _device);
            json.WriteString("module"u8, _module);
            json.WriteString("epoch"u8, epoch);
            json.WriteEndObject();
        }

        // The object stays open: the batch follows.
        return new(epoch, [.. head.WrittenSpan[..^1], .. ",\"batch\":["u8]);
    }

    static int Append(byte[] target, int at, ReadOnlySpan<byte> source)
    {
        source.CopyTo(target.AsSpan(at));
        return at + source.Length;
    }

    static int EntryBytes(BufferedReading reading)
    {
        Span<byte> digits = stackalloc byte[MaxIdDigits + 1];
        Utf8Formatter.TryFormat(reading.Id, digits, out var length);
        return "{\"id\":,\"data\":}".Length + length + reading.Payload.Length;
    }

    sealed record Head(string Epoch, byte[] Bytes);
}
