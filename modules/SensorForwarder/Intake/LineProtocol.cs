using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;
using SensorForwarder.Readings;
using SensorForwarder.Text;

namespace SensorForwarder.Intake;

/// <summary>
/// Reads InfluxDB line protocol: <c>weather,place=attic temperature=21.4,door="open" 1795442400000000000</c>. The
/// sensor is the series, <c>weather,place=attic</c>, with its tags in order; fields are values. Used for one request.
/// (https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/)
/// </summary>
/// <param name="into">Receives the payloads.</param>
/// <param name="ticksPerUnit">Ticks of 100 ns per unit of time; 0.01: times are in nanoseconds.</param>
/// <param name="arrivedAt">The time of lines without a time.</param>
internal sealed class LineProtocol(PayloadList into, decimal ticksPerUnit, DateTimeOffset arrivedAt)
{
    static readonly DateTimeOffset MaxTime = new(9998, 12, 31, 0, 0, 0, TimeSpan.Zero);

    readonly List<(string Name, string Value)> _tags = [];
    readonly StringBuilder _text = new();

    /// <summary>Ticks of 100 ns per unit of time, for a <c>precision</c>; null: the precision is unknown.</summary>
    public static decimal? TicksPerUnit(string? precision) => precision switch
    {
        null or "" or "ns" or "n" => 0.01m,
        "us" or "u" or "\u00b5" => TimeSpan.TicksPerMicrosecond,
        "ms" => TimeSpan.TicksPerMillisecond,
        "s" => TimeSpan.TicksPerSecond,
        "m" => TimeSpan.TicksPerMinute,
        "h" => TimeSpan.TicksPerHour,
        _ => null,
    };

    /// <summary>Reads a body.</summary>
    /// <returns>What is wrong, with the line; null: nothing.</returns>
    public IntakeAnswer? Read(ReadOnlySpan<byte> body)
    {
        if (!System.Text.Unicode.Utf8.IsValid(body)) return IntakeAnswer.Malformed("it is not UTF-8");
        var (number, largest, largestNumber) = (1, 0, 0);
        while (!body.IsEmpty)
        {
            var (length, breaks) = Measure(body);
            var line = body[..length].Trim(" \t\r"u8);
            if (!line.IsEmpty && line[0] != '#')
            {
                if (ReadLine(line) is { } problem) return IntakeAnswer.Malformed($"line {number}: {problem}");
                if (line.Length > largest) (largest, largestNumber) = (line.Length, number);
            }

            number += breaks + 1;
            body = body[Math.Min(body.Length, length + 1)..];
        }

        return into.Count == 0
            ? IntakeAnswer.Malformed("it is empty")
            : IntakeLimits.Check(into.Count, largest, $"line {largestNumber}");
    }

    // A line break in a quoted field does not end the line. Quotes outside of fields have no meaning.
    static (int Length, int Breaks) Measure(ReadOnlySpan<byte> body)
    {
        if (body[0] == '#') return (body.IndexOf((byte)'\n') is >= 0 and var end ? end : body.Length, 0);
        var (hasFields, isQuoted, breaks) = (false, false, 0);
        for (var i = 0; i < body.Length; i++)
        {
            switch (body[i])
            {
                case (byte)'\\': i++; break;
                case (byte)'"' when isQuoted || (hasFields && body[i - 1] == '='): isQuoted = !isQuoted; break;
                case (byte)' ': hasFields = true; break;
                case (byte)'\n' when isQuoted: breaks++; break;
                case (byte)'\n': return (i, breaks);
            }
        }

        return (body.Length, breaks);
    }

    string? ReadLine(ReadOnlySpan<byte> line)
    {
        var rest = line;
        _tags.Clear();
        var measurement = Take(ref rest, ", "u8);
        if (measurement.Length == 0) return "it has no measurement";
        while (rest.StartsWith(","u8))
        {
            rest = rest[1..];
            var tag = Take(ref rest, "=, "u8);
            if (!rest.StartsWith("="u8)) return $"tag '{LogText.Clean(tag)}' has no value";
            rest = rest[1..];
            var value = Take(ref rest, ", "u8);
            if (tag.Length == 0 || value.Length == 0) return "a tag has no name or no value";
            _tags.Add((tag, value));
        }

        _tags.Sort(static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        var name = NameOf(measurement);
        if (name.Any(char.IsControl)) return "its measurement or a tag has a control character";
        rest = rest.TrimStart((byte)' ');
        if (rest.IsEmpty) return "it has no fields";

        var end = EndOfFields(rest);
        var timeText = rest[end..].Trim((byte)' ');
        var time = arrivedAt;
        if (!timeText.IsEmpty && !TryTime(timeText, out time))
            return "its time is not a whole number, or not in the years 1970 to 9998; see precision";
        into.Begin(ReadingEncoder.EncodeName(name).EncodedUtf8Bytes);
        into.Property("kind"u8, "\"influx\""u8);
        into.Time(time);
        into.Property("quality"u8, "\"good\""u8);
        into.Write(",\"values\":{"u8);
        if (ReadFields(rest[..end]) is { } problem) return problem;
        into.Write("}"u8);
        if (_tags.Count > 0) WriteTags();
        into.End();
        return null;
    }

    static int EndOfFields(ReadOnlySpan<byte> text)
    {
        var isQuoted = false;
        for (var i = 0; i < text.Length; i++)
        {
            switch (text[i])
            {
                case (byte)'\\': i++; break;
                case (byte)'"' when isQuoted || (i > 0 && text[i - 1] == '='): isQuoted = !isQuoted; break;
                case (byte)' ' when !isQuoted: return i;
            }
        }

        return text.Length;
    }

    string? ReadFields(ReadOnlySpan<byte> rest)
    {
        var before = "\""u8;
        while (true)
        {
            var name = Take(ref rest, "=,"u8);
            if (name.Length == 0 || !rest.StartsWith("="u8))
                return $"field '{LogText.Clean(name)}' has no name or no value";
            rest = rest[1..];
            into.Write(before);
            into.Write(ReadingEncoder.EncodeName(name).EncodedUtf8Bytes);
            into.Write("\":"u8);
            if (!WriteValue(ref rest))
                return $"field '{LogText.Clean(name)}' is not a number, an integer such as 3i, true, false or a text "
                    + "in double quotes";
            if (rest.IsEmpty) return null;
            if (rest[0] != ',') return $"field '{LogText.Clean(name)}' is followed by neither a comma nor a blank";
            rest = rest[1..];
            before = ",\""u8;
        }
    }

    bool WriteValue(ref ReadOnlySpan<byte> rest)
    {
        if (rest.StartsWith("\""u8)) return WriteText(ref rest);
        var end = rest.IndexOfAny((byte)',', (byte)' ');
        var value = end < 0 ? rest : rest[..end];
        rest = rest[value.Length..];
        if (value.IsEmpty) return false;
        int used;
        switch (value[^1])
        {
            case (byte)'i':
                return Utf8Parser.TryParse(value, out long whole, out used) && used == value.Length - 1
                    && Write(whole.ToString(CultureInfo.InvariantCulture));
            case (byte)'u':
                return Utf8Parser.TryParse(value, out ulong natural, out used) && used == value.Length - 1
                    && Write(natural.ToString(CultureInfo.InvariantCulture));
            case >= (byte)'A':
                return Encoding.UTF8.GetString(value) switch
                {
                    "t" or "T" or "true" or "True" or "TRUE" => Write("true"),
                    "f" or "F" or "false" or "False" or "FALSE" => Write("false"),
                    _ => false,
                };
            default:
                return Utf8Parser.TryParse(value, out double number, out used) && used == value.Length
                    && double.IsFinite(number) && Write(number.ToString("R", CultureInfo.InvariantCulture));
        }
    }

    bool WriteText(ref ReadOnlySpan<byte> rest)
    {
        for (var i = 1; i < rest.Length; i++)
        {
            if (rest[i] == '\\') i++;
            else if (rest[i] == '"')
            {
                var text = Encoding.UTF8.GetString(rest[1..i])
                    .Replace("\\\"", "\"", StringComparison.Ordinal).Replace(@"\\", @"\", StringComparison.Ordinal);
                rest = rest[(i + 1)..];
                return Write($"\"{ReadingEncoder.EncodeName(text)}\"");
            }
        }

        return false;
    }

    bool Write(string text)
    {
        into.Write(Encoding.UTF8.GetBytes(text));
        return true;
    }

    void WriteTags()
    {
        into.Write(",\"tags\":{"u8);
        for (var i = 0; i < _tags.Count; i++)
        {
            var (name, value) = (ReadingEncoder.EncodeName(_tags[i].Name), ReadingEncoder.EncodeName(_tags[i].Value));
            Write($"{(i == 0 ? "" : ",")}\"{name}\":\"{value}\"");
        }

        into.Write("}"u8);
    }

    bool TryTime(ReadOnlySpan<byte> text, out DateTimeOffset time)
    {
        time = arrivedAt;
        if (!Utf8Parser.TryParse(text, out long count, out var used) || used != text.Length) return false;
        if (count < 0 || count > (MaxTime - DateTimeOffset.UnixEpoch).Ticks / ticksPerUnit) return false;
        time = DateTimeOffset.UnixEpoch.AddTicks((long)(count * ticksPerUnit));
        return true;
    }

    // A series with many tags has a long name, which is shortened; the tags are complete.
    string NameOf(string measurement) => IntakeLimits.Shorten(
        string.Concat([measurement, .. _tags.Select(tag => $",{tag.Name}={tag.Value}")]));

    /// <summary>Takes a name, which ends at the first of these characters that is not escaped by a backslash.</summary>
    string Take(ref ReadOnlySpan<byte> rest, ReadOnlySpan<byte> ends)
    {
        var end = rest.IndexOfAny(ends);
        var escape = rest.IndexOf((byte)'\\');
        if (escape < 0 || (end >= 0 && escape > end))
        {
            var plain = end < 0 ? rest : rest[..end];
            rest = rest[plain.Length..];
            return Encoding.UTF8.GetString(plain);
        }

        _text.Clear();
        for (var i = 0; ; i++)
        {
            var isEnd = i == rest.Length || ends.Contains(rest[i]);
            if (isEnd || (rest[i] == '\\' && i + 1 < rest.Length && rest[i + 1] is (byte)',' or (byte)'=' or (byte)' '))
            {
                _text.Append(Encoding.UTF8.GetString(rest[..i]));
                if (isEnd)
                {
                    rest = rest[i..];
                    return _text.ToString();
                }

                _text.Append((char)rest[i + 1]);
                rest = rest[(i + 2)..];
                i = -1;
            }
        }
    }
}
