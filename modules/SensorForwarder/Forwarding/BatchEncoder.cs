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
    readonly string _epoch;
    readonly byte[] _head;

    public BatchEncoder(string device, string module, string epoch)
    {
        _epoch = epoch;
        var head = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(head))
        {
            json.WriteStartObject();
            json.WriteString("device"u8, device);
            json.WriteString("module"u8, module);
            json.WriteString("epoch"u8, epoch);
            json.WriteEndObject();
        }

        // The object stays open: the batch follows.
        _head = [.. head.WrittenSpan[..^1], .. ",\"batch\":["u8];
    }

    static ReadOnlySpan<byte> Tail => "]}"u8;

    /// <summary>Encodes the readings from the first on, as many as fit into <paramref name="maxBytes"/>, but at least
    /// one: whether a single one is too large is for the sink to say.</summary>
    public Batch Encode(IReadOnlyList<BufferedReading> readings, int maxBytes)
    {
        var count = 0;
        var bytes = _head.Length + Tail.Length;
        while (count < readings.Count)
        {
            var more = EntryBytes(readings[count]) + (count > 0 ? 1 : 0);
            if (count > 0 && bytes + more > maxBytes) break;
            bytes += more;
            count++;
        }

        var body = new byte[bytes];
        var at = Append(body, 0, _head);
        for (var i = 0; i < count; i++)
        {
            if (i > 0) body[at++] = (byte)',';
            at = Append(body, at, "{\"id\":"u8);
            Utf8Formatter.TryFormat(readings[i].Id, body.AsSpan(at), out var digits);
            at = Append(body, at + digits, ",\"data\":"u8);
            at = Append(body, at, readings[i].Payload.Span);
            body[at++] = (byte)'}';
        }

        Append(body, at, Tail);
        return new(_epoch, count == readings.Count ? readings : [.. readings.Take(count)], body);
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
}
