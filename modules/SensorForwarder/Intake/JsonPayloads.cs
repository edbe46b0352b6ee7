using System.Text;
using System.Text.Json;
using SensorForwarder.Readings;
using SensorForwarder.Text;

namespace SensorForwarder.Intake;

/// <summary>
/// Reads JSON from another program: one value, an array, or one value per line. An object with a text <c>sensor</c> and
/// an object <c>values</c> is a reading; any other value is stored as <c>data</c>. Used for one request.
/// </summary>
/// <param name="into">Receives the payloads.</param>
/// <param name="kind">The kind of readings without a kind.</param>
/// <param name="name">The sensor of values that are not readings.</param>
/// <param name="arrivedAt">The time of values without a time.</param>
/// <param name="origin">A JSON object that is added to each payload as <c>edgeHub</c>; empty: none.</param>
internal sealed class JsonPayloads(
    PayloadList into, string kind, string name, DateTimeOffset arrivedAt, ReadOnlyMemory<byte> origin = default)
{
    const int MaxTextBytes = 512;

    // Fits into the half of the ring that requests may use (BufferOptions.RingBytes).
    const int MaxStoredBytes = 7 << 20;
    const string TimeForm = "a time with a zone, such as \"2026-11-24T14:00:00Z\", in the years 1970 to 9998";

    readonly byte[] _kind = Encoding.UTF8.GetBytes($"\"{ReadingEncoder.EncodeName(kind)}\"");
    readonly byte[] _name = ReadingEncoder.EncodeName(name).EncodedUtf8Bytes.ToArray();

    // State of the object being read.
    readonly List<Range> _others = [];
    int _items;
    (int Bytes, int Number) _largest;

    /// <summary>Reads a body.</summary>
    /// <param name="isLines">Whether the body is known to have one value per line.</param>
    /// <returns>What is wrong, with the line or element; null: nothing.</returns>
    public IntakeAnswer? Read(ReadOnlySpan<byte> body, bool isLines)
    {
        if (body.StartsWith("\uFEFF"u8)) body = body[3..];
        if (!System.Text.Unicode.Utf8.IsValid(body)) return IntakeAnswer.Malformed("it is not UTF-8");
        var start = body.IndexOfAnyExcept(" \t\r\n"u8);
        if (start < 0) return IntakeAnswer.Malformed("it is empty");
        if (isLines) return ReadLines(body);
        try
        {
            var reader = new Utf8JsonReader(body);
            reader.Read();
            var isArray = reader.TokenType == JsonTokenType.StartArray;
            var problem = isArray ? ReadArray(ref reader, body) : ReadSingle(ref reader, body);
            if (isArray && problem is not null) return problem;

            // Another value follows, so the body has one value per line.
            return body[(int)reader.BytesConsumed..].ContainsAnyExcept(" \t\r\n"u8) ? ReadLines(body) : problem;
        }
        catch (JsonException exception)
        {
            var isOneLine = !body[start..].TrimEnd(" \t\r\n"u8).Contains((byte)'\n');
            return isOneLine || body[start] == '['
                ? IntakeAnswer.Malformed($"line {exception.LineNumber + 1}: {Explain(exception)}")
                : ReadLines(body);
        }
    }

    IntakeAnswer? ReadSingle(ref Utf8JsonReader reader, ReadOnlySpan<byte> body) =>
        ReadItem(ref reader, body) is { } problem
            ? IntakeAnswer.Malformed(problem)
            : IntakeLimits.Check(_items, _largest.Bytes, "it");

    IntakeAnswer? ReadArray(ref Utf8JsonReader reader, ReadOnlySpan<byte> body)
    {
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (ReadItem(ref reader, body) is { } problem)
                return IntakeAnswer.Malformed($"element {_items + 1} (counted from 1): {problem}");
        }

        return IntakeLimits.Check(_items, _largest.Bytes, $"element {_largest.Number} (counted from 1)");
    }

    IntakeAnswer? ReadLines(ReadOnlySpan<byte> body)
    {
        into.Clear();
        (_items, _largest) = (0, default);
        var (number, largest) = (0, 0);
        foreach (var range in body.Split((byte)'\n'))
        {
            number++;
            var line = body[range].Trim(" \t\r"u8);
            if (line.IsEmpty) continue;
            var before = _largest;
            try
            {
                var reader = new Utf8JsonReader(line);
                reader.Read();
                if (ReadItem(ref reader, line) is { } problem)
                    return IntakeAnswer.Malformed($"line {number}: {problem}");
                if (reader.BytesConsumed < line.Length)
                    return IntakeAnswer.Malformed($"line {number}: it has more than one value");
            }
            catch (JsonException exception)
            {
                return IntakeAnswer.Malformed($"line {number}: {Explain(exception)}");
            }

            if (_largest != before) largest = number;
        }

        return IntakeLimits.Check(_items, _largest.Bytes, $"line {largest}");
    }

    /// <summary>Reads one value and adds it to the payloads. The reader is at the first token of the value, and then at
    /// its last.</summary>
    /// <returns>What is wrong with the value; null: nothing.</returns>
    string? ReadItem(ref Utf8JsonReader reader, ReadOnlySpan<byte> text)
    {
        var start = (int)reader.TokenStartIndex;
        var found = new Found();
        _others.Clear();
        if (reader.TokenType == JsonTokenType.StartObject)
        {
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
                ReadProperty(ref reader, text, ref found);
        }
        else
        {
            reader.Skip();
        }

        var item = text[start..(int)reader.BytesConsumed];
        if (found.HasName && found.HasValues)
        {
            if (found is { IsOfAlarms: true, HasAlarm: true })
                found.Problem ??= "kind 'alarm' with a property alarm is reserved for the module; use another kind";
            if (found.Problem is not null) return found.Problem;
            WriteReading(found, text);
        }
        else
        {
            WriteData(item);
        }

        if (into.Bytes > MaxStoredBytes) return $"all items together need more than {MaxStoredBytes >> 20} MiB";
        _items++;
        if (item.Length > _largest.Bytes) _largest = (item.Length, _items);
        return null;
    }

    // If a property occurs twice, the last one is used, as in most parsers.
    void ReadProperty(ref Utf8JsonReader reader, ReadOnlySpan<byte> text, ref Found found)
    {
        var start = (int)reader.TokenStartIndex;
        var isKnown = true;
        if (reader.ValueTextEquals("sensor"u8)) ReadName(ref reader, ref found);
        else if (reader.ValueTextEquals("values"u8)) ReadValues(ref reader, text, ref found);
        else if (reader.ValueTextEquals("time"u8)) ReadTime(ref reader, ref found);
        else if (reader.ValueTextEquals("quality"u8))
        {
            found.Quality = ReadText(ref reader, ref found, "quality");
            if (reader.TokenType == JsonTokenType.String && !reader.ValueTextEquals("good"u8)
                && !reader.ValueTextEquals("uncertain"u8) && !reader.ValueTextEquals("bad"u8))
                found.Problem ??= "quality is not one of \"good\", \"uncertain\", \"bad\"";
        }
        else if (reader.ValueTextEquals("unit"u8)) found.Unit = ReadText(ref reader, ref found, "unit");
        else if (reader.ValueTextEquals("label"u8)) found.Label = ReadText(ref reader, ref found, "label");
        else if (reader.ValueTextEquals("reason"u8)) found.Reason = ReadText(ref reader, ref found, "reason");
        else if (reader.ValueTextEquals("kind"u8))
        {
            found.Kind = ReadText(ref reader, ref found, "kind");
            if (reader.TokenType == JsonTokenType.String && reader.ValueTextEquals("gap"u8))
                found.Problem ??= "kind 'gap' is reserved for the module; use another kind";
            found.IsOfAlarms = reader.TokenType == JsonTokenType.String && reader.ValueTextEquals(AlarmReport.Kind);
        }
        else
        {
            isKnown = false;
            found.HasAlarm |= reader.ValueTextEquals(AlarmReport.Property);
            if (!origin.IsEmpty && reader.ValueTextEquals("edgeHub"u8))
                found.Problem ??= "the property edgeHub is reserved for the module; use another name";
        }

        if (isKnown) return;
        reader.Read();
        reader.Skip();
        _others.Add(start..(int)reader.BytesConsumed);
    }

    static void ReadName(ref Utf8JsonReader reader, ref Found found)
    {
        reader.Read();
        (found.HasName, found.OwnName) = (reader.TokenType == JsonTokenType.String, null);
        if (!found.HasName)
        {
            reader.Skip();
            return;
        }

        var raw = reader.ValueSpan;
        if (raw.Length is > 0 and <= IntakeLimits.MaxNameLength && !reader.ValueIsEscaped
            && !raw.ContainsAnyExceptInRange((byte)' ', (byte)'~'))
        {
            found.Name = ((int)reader.TokenStartIndex + 1)..((int)reader.BytesConsumed - 1);
            return;
        }

        // An unpaired surrogate is valid JSON, but not a valid string.
        string? name = null;
        try
        {
            name = reader.GetString();
        }
        catch (InvalidOperationException)
        {
        }

        if (name is not null && IntakeLimits.IsName(name))
            found.OwnName = ReadingEncoder.EncodeName(name).EncodedUtf8Bytes.ToArray();
        else
            found.Problem ??= $"sensor is not a name of 1 to {IntakeLimits.MaxNameLength} characters";
    }

    static void ReadValues(ref Utf8JsonReader reader, ReadOnlySpan<byte> text, ref Found found)
    {
        reader.Read();
        found.HasValues = reader.TokenType == JsonTokenType.StartObject;
        if (!found.HasValues)
        {
            reader.Skip();
            return;
        }

        var start = (int)reader.TokenStartIndex;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var nameStart = (int)reader.TokenStartIndex;
            reader.Read();
            if (reader.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
            {
                found.Problem ??= $"the value {ShowName(text[nameStart..])} is a list or an object; it must be a "
                    + "number, a text, true, false or null";
                reader.Skip();
            }
            else if (reader.TokenType == JsonTokenType.Number && MayBeTooLarge(reader.ValueSpan)
                && !(reader.TryGetDouble(out var number) && double.IsFinite(number)))
            {
                found.Problem ??= $"the value {ShowName(text[nameStart..])} is outside the range of a double";
            }
        }

        found.Values = start..(int)reader.BytesConsumed;
    }

    static void ReadTime(ref Utf8JsonReader reader, ref Found found)
    {
        reader.Read();
        found.Time = null;
        if (reader.TokenType == JsonTokenType.Null) return;
        if (reader.TokenType == JsonTokenType.String && HasZone(reader.ValueSpan)
            && reader.TryGetDateTimeOffset(out var time) && time.UtcDateTime.Year is >= 1970 and < 9999)
            found.Time = time;
        else
            found.Problem ??= $"time is not {TimeForm}";
        reader.Skip();
    }

    // A time without a zone is ambiguous.
    static bool HasZone(ReadOnlySpan<byte> time) =>
        time.EndsWith("Z"u8) || (time.Length > 6 && time[^3] == ':' && time[^6] is (byte)'+' or (byte)'-');

    /// <returns>The range of the text, with the quotes; null: JSON null.</returns>
    static Range? ReadText(ref Utf8JsonReader reader, ref Found found, string property)
    {
        reader.Read();
        var start = (int)reader.TokenStartIndex;
        if (reader.TokenType == JsonTokenType.Null) return null;
        if (reader.TokenType != JsonTokenType.String || reader.ValueSpan.Length > MaxTextBytes)
            found.Problem ??= $"{property} is not a text of at most {MaxTextBytes} bytes";
        reader.Skip();
        return start..(int)reader.BytesConsumed;
    }

    static bool MayBeTooLarge(ReadOnlySpan<byte> number) =>
        number.Length > 300 || number.ContainsAny((byte)'e', (byte)'E');

    // The text begins with a name in quotes.
    static string ShowName(ReadOnlySpan<byte> text)
    {
        var name = text[1..Math.Min(text.Length, 40)];
        var end = name.IndexOf((byte)'"');
        return LogText.Clean($"'{Encoding.UTF8.GetString(end < 0 ? name : name[..end])}'");
    }

    void WriteReading(in Found found, ReadOnlySpan<byte> text)
    {
        into.Begin(found.OwnName ?? text[found.Name]);
        into.Property("kind"u8, found.Kind is { } kind ? text[kind] : _kind);
        if (found.Label is { } label) into.Property("label"u8, text[label]);
        if (found.Unit is { } unit) into.Property("unit"u8, text[unit]);
        into.Time(found.Time ?? arrivedAt);
        into.Property("quality"u8, found.Quality is { } quality ? text[quality] : "\"good\""u8);
        if (found.Reason is { } reason) into.Property("reason"u8, text[reason]);
        into.Property("values"u8, text[found.Values]);
        foreach (var other in _others)
        {
            into.Write(","u8);
            into.Write(text[other]);
        }

        End();
    }

    /// <summary>Adds a value unchanged, as <c>data</c>.</summary>
    /// <param name="json">The value.</param>
    public void WriteData(ReadOnlySpan<byte> json)
    {
        into.Begin(_name);
        into.Property("kind"u8, _kind);
        into.Time(arrivedAt);
        into.Property("quality"u8, "\"good\""u8);
        into.Property("data"u8, json);
        End();
    }

    void End()
    {
        if (!origin.IsEmpty) into.Property("edgeHub"u8, origin.Span);
        into.End();
    }

    // The parser's message, without the position in the parser's form.
    static string Explain(JsonException exception)
    {
        var end = exception.Message.IndexOf(" LineNumber:", StringComparison.Ordinal);
        var words = (end < 0 ? exception.Message : exception.Message[..end]).TrimEnd('.');
        return LogText.Clean($"it is not JSON: {words}, at byte {exception.BytePositionInLine + 1}");
    }

    /// <summary>The properties of a reading that were found in an object, as ranges of the text. Ranges of texts
    /// include the quotes, except that of the name.</summary>
    struct Found
    {
        public bool HasName;
        public Range Name;

        /// <summary>Used instead of <see cref="Name"/> if the name must be escaped differently.</summary>
        public byte[]? OwnName;
        public Range? Kind;
        public bool IsOfAlarms;
        public bool HasAlarm;
        public Range? Label;
        public Range? Unit;
        public Range? Quality;
        public Range? Reason;
        public bool HasValues;
        public Range Values;
        public DateTimeOffset? Time;
        public string? Problem;
    }
}
