using System.Buffers;
using System.Diagnostics;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace SensorForwarder.Readings;

/// <summary>Encodes the payload of a reading: the UTF-8 JSON of <c>data</c>, with a fixed order of properties.
/// Thread-safe.</summary>
internal static class ReadingEncoder
{
    /// <summary>The largest payload that is accepted; far above what a sensor produces.</summary>
    public const int MaxPayloadBytes = 1 << 20;

    /// <summary>The length of a time in a payload: <c>2026-11-24T14:20:31.123Z</c>.</summary>
    public const int TimeLength = 24;

    static readonly JsonEncodedText SensorName = JsonEncodedText.Encode("sensor");
    static readonly JsonEncodedText KindName = JsonEncodedText.Encode("kind");
    static readonly JsonEncodedText LabelName = JsonEncodedText.Encode("label");
    static readonly JsonEncodedText UnitName = JsonEncodedText.Encode("unit");
    static readonly JsonEncodedText TimeName = JsonEncodedText.Encode("time");
    static readonly JsonEncodedText QualityName = JsonEncodedText.Encode("quality");
    static readonly JsonEncodedText ReasonName = JsonEncodedText.Encode("reason");
    static readonly JsonEncodedText UnitsName = JsonEncodedText.Encode("units");
    static readonly JsonEncodedText AggregateName = JsonEncodedText.Encode("aggregate");
    static readonly JsonEncodedText TagsName = JsonEncodedText.Encode("tags");
    static readonly JsonEncodedText ValuesName = JsonEncodedText.Encode("values");
    static readonly JsonEncodedText AlarmName = JsonEncodedText.Encode("alarm");

    // The payload is never embedded in HTML, so characters that HTML would need escaped stay readable.
    static readonly JavaScriptEncoder Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping;

    [ThreadStatic]
    static Scratch? _scratch;

    /// <summary>Encodes a reading into a buffer of the calling thread, which the thread's next call overwrites.
    /// </summary>
    public static ReadOnlySpan<byte> Encode(Reading reading)
    {
        var scratch = _scratch ??= new Scratch();
        var json = scratch.Begin();
        json.WriteStartObject();
        json.WriteString(SensorName, reading.Sensor);
        json.WriteString(KindName, reading.Kind);
        if (reading.Label is { } label)
            json.WriteString(LabelName, label);
        if (reading.Unit is { } unit)
            json.WriteString(UnitName, unit);
        Span<byte> time = stackalloc byte[TimeLength];
        FormatTime(reading.Time, time);
        json.WriteString(TimeName, time);
        json.WriteString(QualityName, QualityText(reading.Quality));
        if (reading.Reason is { } reason)
            json.WriteString(ReasonName, reason);
        json.WriteStartObject(ValuesName);
        foreach (var (name, value) in reading.Values)
        {
            // Sensors filter out NaN and infinity. If one gets here, the other values must not be lost.
            if (double.IsFinite(value))
                json.WriteNumber(name, value);
            else
                json.WriteNull(name);
        }
        json.WriteEndObject();
        if (reading.Units.Count > 0)
        {
            json.WriteStartObject(UnitsName);
            foreach (var (name, text) in reading.Units) json.WriteString(name, text);
            json.WriteEndObject();
        }

        reading.Tags.WriteTo(json, TagsName);
        if (reading.Aggregate is { } aggregate)
        {
            json.WritePropertyName(AggregateName);
            aggregate.WriteTo(json);
        }

        if (reading.Alarm is { } alarm)
        {
            json.WritePropertyName(AlarmName);
            alarm.Write(json);
        }

        json.WriteEndObject();
        json.Flush();
        return scratch.Written;
    }

    /// <summary>A name as written in a payload, without quotes. Names are always written this way, so that the
    /// beginning of a payload identifies its sensor.</summary>
    public static JsonEncodedText EncodeName(string name) => JsonEncodedText.Encode(name, Encoder);

    /// <summary>The beginning of every payload of this sensor, and of no other sensor.</summary>
    public static string BeginningOf(string sensor) => $"{{\"sensor\":\"{EncodeName(sensor)}\"";

    /// <summary>Writes the 24 characters of a time, in UTC with milliseconds.</summary>
    public static void FormatTime(DateTimeOffset time, Span<byte> destination)
    {
        var utc = time.UtcDateTime;
        Digits(destination[..4], utc.Year);
        destination[4] = (byte)'-';
        Digits(destination.Slice(5, 2), utc.Month);
        destination[7] = (byte)'-';
        Digits(destination.Slice(8, 2), utc.Day);
        destination[10] = (byte)'T';
        Digits(destination.Slice(11, 2), utc.Hour);
        destination[13] = (byte)':';
        Digits(destination.Slice(14, 2), utc.Minute);
        destination[16] = (byte)':';
        Digits(destination.Slice(17, 2), utc.Second);
        destination[19] = (byte)'.';
        Digits(destination.Slice(20, 3), utc.Millisecond);
        destination[23] = (byte)'Z';
    }

    static void Digits(Span<byte> destination, int number)
    {
        for (var i = destination.Length - 1; i >= 0; i--)
        {
            destination[i] = (byte)('0' + (number % 10));
            number /= 10;
        }
    }

    static ReadOnlySpan<byte> QualityText(ReadingQuality quality) => quality switch
    {
        ReadingQuality.Good => "good"u8,
        ReadingQuality.Uncertain => "uncertain"u8,
        ReadingQuality.Bad => "bad"u8,
        _ => throw new UnreachableException($"quality {quality}"),
    };

#pragma warning disable CA1001 // Lives as long as its thread; the writer holds no resource but the array beside it.
    sealed class Scratch
#pragma warning restore CA1001
    {
        const int KeptBytes = 65_536;

        static readonly JsonWriterOptions Options = new() { Encoder = Encoder, SkipValidation = true };

        ArrayBufferWriter<byte> _bytes = new(512);
        Utf8JsonWriter? _json;

        public ReadOnlySpan<byte> Written => _bytes.WrittenSpan;

        public Utf8JsonWriter Begin()
        {
            // One exceptionally large reading must not make the thread keep a large buffer.
            if (_bytes.Capacity > KeptBytes)
            {
                _bytes = new ArrayBufferWriter<byte>(512);
                _json = null;
            }
            _bytes.ResetWrittenCount();
            if (_json is null)
                _json = new Utf8JsonWriter(_bytes, Options);
            else
                _json.Reset(_bytes);
            return _json;
        }
    }
}
