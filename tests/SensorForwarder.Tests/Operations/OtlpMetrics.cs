using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace SensorForwarder.Tests.Operations;

/// <summary>
/// Converts an ExportMetricsServiceRequest of the OpenTelemetry protocol, as far as the module uses it, to Prometheus metrics, strictly
/// by opentelemetry-proto's metrics.proto and the specification's "OTLP Metric points to Prometheus".
/// </summary>
internal sealed record OtlpMetrics(IReadOnlyDictionary<string, string> Resource, IReadOnlyList<PrometheusFamily> Families)
{
    public static OtlpMetrics Read(ReadOnlyMemory<byte> request)
    {
        var resourceMetrics = Fields(request).Single(field => field.Number == 1).Bytes;
        // Missing in a push before the first instrument.
        var scopeMetrics = Fields(resourceMetrics).SingleOrDefault(field => field.Number == 2).Bytes;
        return new(
            Attributes(Fields(resourceMetrics).Single(field => field.Number == 1).Bytes, 1),
            [.. Fields(scopeMetrics).Where(field => field.Number == 2).Select(field => ReadMetric(field.Bytes))]);
    }

    static PrometheusFamily ReadMetric(ReadOnlyMemory<byte> metric)
    {
        var fields = Fields(metric);
        var data = fields.Single(field => field.Number is 5 or 7 or 9);
        var content = Fields(data.Bytes);
        var points = content.Where(field => field.Number == 1).Select(field => field.Bytes);
        var name = Text(fields.Single(field => field.Number == 1));
        if (data.Number != 5 && content.Single(field => field.Number == 2).Value != 2) throw new FormatException($"{name} is not cumulative");
        var help = Text(fields.Single(field => field.Number == 2));
        return data.Number switch
        {
            5 => new(name, "gauge", help, [.. points.Select(point => Number(name, point))]),
            7 when content.Single(field => field.Number == 3).Value == 1 => new($"{name}_total", "counter", help, [.. points.Select(point => Number($"{name}_total", point))]),
            9 => new(name, "histogram", help, [.. points.SelectMany(point => Histogram(name, point))]),
            _ => throw new FormatException($"{name} is a sum that is not monotonic"),
        };
    }

    static PrometheusSample Number(string name, ReadOnlyMemory<byte> point)
    {
        var value = Fields(point).Single(field => field.Number is 4 or 6);
        return new(name, Attributes(point, 7), value.Number == 4 ? BitConverter.UInt64BitsToDouble(value.Value) : (long)value.Value);
    }

    static IEnumerable<PrometheusSample> Histogram(string name, ReadOnlyMemory<byte> point)
    {
        var fields = Fields(point);
        var (labels, bounds, sum) = (Attributes(point, 9), Packed(fields.Single(field => field.Number == 7)).Select(BitConverter.UInt64BitsToDouble).ToList(), 0UL);
        foreach (var (i, count) in Packed(fields.Single(field => field.Number == 6)).Index())
        {
            var bound = i < bounds.Count ? bounds[i].ToString("R", CultureInfo.InvariantCulture) : "+Inf";
            yield return new($"{name}_bucket", new Dictionary<string, string>(labels) { ["le"] = bound }, sum += count);
        }

        yield return new($"{name}_sum", labels, BitConverter.UInt64BitsToDouble(fields.Single(field => field.Number == 5).Value));
        yield return new($"{name}_count", labels, fields.Single(field => field.Number == 4).Value);
    }

    /// <summary>KeyValue: key 1, value 2; of AnyValue only the string, 1.</summary>
    static Dictionary<string, string> Attributes(ReadOnlyMemory<byte> message, int number) => Fields(message)
        .Where(field => field.Number == number)
        .Select(field => Fields(field.Bytes))
        .ToDictionary(
            pair => Text(pair.Single(field => field.Number == 1)),
            pair => Text(Fields(pair.Single(field => field.Number == 2).Bytes).Single(field => field.Number == 1)));

    static string Text(Field field) => Encoding.UTF8.GetString(field.Bytes.Span);

    static IEnumerable<ulong> Packed(Field field)
    {
        for (var i = 0; i < field.Bytes.Length; i += sizeof(ulong))
            yield return BinaryPrimitives.ReadUInt64LittleEndian(field.Bytes.Span[i..]);
    }

    /// <summary>The wire format of protocol buffers: varint, 64 bit, length-delimited.</summary>
    static List<Field> Fields(ReadOnlyMemory<byte> message)
    {
        var fields = new List<Field>();
        while (message.Length > 0)
        {
            var key = Varint(ref message);
            switch (key & 7)
            {
                case 0:
                    fields.Add(new((int)(key >> 3), Varint(ref message), default));
                    break;
                case 1:
                    fields.Add(new((int)(key >> 3), BinaryPrimitives.ReadUInt64LittleEndian(message.Span), default));
                    message = message[sizeof(ulong)..];
                    break;
                case 2:
                    var length = (int)Varint(ref message);
                    fields.Add(new((int)(key >> 3), 0, message[..length]));
                    message = message[length..];
                    break;
                default: throw new FormatException($"wire type {key & 7}");
            }
        }

        return fields;
    }

    static ulong Varint(ref ReadOnlyMemory<byte> message)
    {
        var value = 0UL;
        for (var shift = 0; ; shift += 7)
        {
            var next = message.Span[0];
            message = message[1..];
            value |= (next & 0x7FUL) << shift;
            if (next < 0x80) return value;
        }
    }

    readonly record struct Field(int Number, ulong Value, ReadOnlyMemory<byte> Bytes);
}
