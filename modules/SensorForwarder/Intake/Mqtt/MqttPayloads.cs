using System.Globalization;
using System.Text;
using System.Text.Json;
using SensorForwarder.Readings;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>
/// Converts a message to a reading if its payload is a JSON object, a plain number, or ON, OFF, true or false. Any
/// other payload is stored unchanged. Stateless.
/// </summary>
internal static class MqttPayloads
{
    public const string Kind = "mqtt";

    const char InValueNames = '_';
    const string Text = "text/plain; charset=utf-8", Binary = "application/octet-stream";

    // Longer payloads are not plain numbers or words.
    const int MaxPlainBytes = 64;

    /// <summary>Adds the payloads of a message; none, if it has none of the configured values.</summary>
    /// <returns>Why the message can never be stored; null: nothing is wrong.</returns>
    public static IntakeAnswer? Write(MqttSubscription subscription, MqttMessage message, PayloadList into)
    {
        var payload = message.Payload.Span;
        if (IntakeLimits.Check(1, payload.Length, "it") is { } tooLarge) return tooLarge;
        var name = IntakeLimits.Shorten(subscription.SensorName.Fill(message.Topic, between: '/'));
        if (!IntakeLimits.IsName(name)) return IntakeAnswer.Malformed("its topic has a control character");

        // An empty payload only deletes a retained message.
        if (payload.Length == 0) return null;
        var plain = payload.Trim(" \t\r\n"u8);
        if (plain.Length <= MaxPlainBytes && TryPlain(Encoding.UTF8.GetString(plain), out var number))
        {
            OrderedDictionary<string, string> values = [];
            if (number is not null) values.Add(subscription.ValueName.Fill(message.Topic, InValueNames), number);
            WriteReading(subscription, message, name, values, [], into);
            return null;
        }

        var json = new JsonPayloads(into, Kind, name, message.ArrivedAt);
        if (plain.StartsWith("{"u8) && TryWriteObject(subscription, message, name, into)) return null;
        if (json.Read(payload, isLines: false) is null) return null;

        // The sender gets no answer, so an invalid reading is stored unchanged.
        into.Clear();
        json.WriteData(IsJson(payload) ? plain : IntakeStore.Wrap(payload, message.ContentType ?? TypeOf(payload)));
        return null;
    }

    /// <param name="number">The number as JSON; null: the payload is NaN or infinite.</param>
    static bool TryPlain(string text, out string? number)
    {
        number = text.ToLowerInvariant() switch
        {
            "on" or "true" => "1",
            "off" or "false" => "0",
            _ => null,
        };
        if (number is not null || text.ToLowerInvariant() is "nan" or "inf" or "-inf") return true;
        if (!double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value)) return false;
        if (double.IsFinite(value)) number = value.ToString("R", CultureInfo.InvariantCulture);
        return true;
    }

    /// <returns>False: the payload is not an object, has no number, is already a reading, or becomes too
    /// large.</returns>
    static bool TryWriteObject(MqttSubscription subscription, MqttMessage message, string name, PayloadList into)
    {
        try
        {
            using var document = JsonDocument.Parse(message.Payload);
            var root = document.RootElement;
            if (root.TryGetProperty("sensor", out var sensor) && sensor.ValueKind == JsonValueKind.String
                && root.TryGetProperty("values", out var own) && own.ValueKind == JsonValueKind.Object) return false;
            var values = new OrderedDictionary<string, string>(StringComparer.Ordinal);
            var tags = new OrderedDictionary<string, string>(StringComparer.Ordinal);
            if (subscription.Values is { } paths)
            {
                foreach (var value in paths.Names)
                {
                    if (Find(root, paths.For(value)!) is { } found) AddValue(values, value, found);
                }

                // The object has none of the configured values: nothing is stored.
                if (values.Count == 0) return true;
            }
            else
            {
                var room = IntakeLimits.MaxPayloadBytes;
                if (!TryFlatten(root, "", values, tags, ref room) || values.Count == 0) return false;
            }

            WriteReading(subscription, message, name, values, tags, into);
            if (into.Bytes <= IntakeLimits.MaxPayloadBytes) return true;
            into.Clear();
            return false;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // An unpaired surrogate is valid JSON, but not a valid string.
            into.Clear();
            return false;
        }
    }

    /// <param name="room">The remaining length of all names together, because the name of an object is repeated in the
    /// names of everything in it.</param>
    static bool TryFlatten(
        JsonElement element, string name, OrderedDictionary<string, string> values,
        OrderedDictionary<string, string> tags, ref int room)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (var property in element.EnumerateObject())
                {
                    if (!TryJoin(name, property.Name, out var below, ref room)
                        || !TryFlatten(property.Value, below, values, tags, ref room)) return false;
                }

                break;
            case JsonValueKind.Array:
                var index = 0;
                foreach (var item in element.EnumerateArray())
                {
                    var number = (index++).ToString(CultureInfo.InvariantCulture);
                    if (!TryJoin(name, number, out var below, ref room)
                        || !TryFlatten(item, below, values, tags, ref room)) return false;
                }

                break;
            case JsonValueKind.Null: break;
            default:
                if (NumberOf(element) is { } json) values[name] = json;
                else tags[name] = Quote(element.ToString());
                break;
        }

        return true;
    }

    static bool TryJoin(string name, string next, out string joined, ref int room)
    {
        room -= name.Length + 1 + next.Length;
        joined = room < 0 ? "" : name.Length == 0 ? next : $"{name}{InValueNames}{next}";
        return room >= 0;
    }

    static void AddValue(OrderedDictionary<string, string> values, string name, JsonElement element)
    {
        if (NumberOf(element) is { } number) values[name] = number;
        else if (element.ValueKind is JsonValueKind.String) values[name] = Quote(element.GetString()!);
    }

    /// <summary>Finds a value by its path; list indexes start at 0.</summary>
    static JsonElement? Find(JsonElement element, string path)
    {
        // A name may contain a dot.
        if (element.ValueKind == JsonValueKind.Object && element.TryGetProperty(path, out var whole)) return whole;
        var dot = path.IndexOf('.', StringComparison.Ordinal);
        var step = dot < 0 ? path : path[..dot];
        JsonElement? next = element.ValueKind switch
        {
            JsonValueKind.Object when element.TryGetProperty(step, out var property) => property,
            JsonValueKind.Array when int.TryParse(
                step, NumberStyles.None, CultureInfo.InvariantCulture, out var index)
                && index < element.GetArrayLength() => element[index],
            _ => null,
        };
        return next is null || dot < 0 ? next : Find(next.Value, path[(dot + 1)..]);
    }

    /// <summary>A value as a JSON number; null: it is not a number.</summary>
    static string? NumberOf(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Number => element.TryGetDouble(out var number) && double.IsFinite(number)
            ? element.GetRawText()
            : null,
        JsonValueKind.True => "1",
        JsonValueKind.False => "0",
        JsonValueKind.String => element.GetString() switch
        {
            "ON" => "1",
            "OFF" => "0",
            _ => null,
        },
        _ => null,
    };

    static string Quote(string text) => $"\"{ReadingEncoder.EncodeName(text)}\"";

    static void WriteReading(
        MqttSubscription subscription, MqttMessage message, string name,
        OrderedDictionary<string, string> values, OrderedDictionary<string, string> tags, PayloadList into)
    {
        into.Begin(ReadingEncoder.EncodeName(name).EncodedUtf8Bytes);
        into.Property("kind"u8, "\"mqtt\""u8);
        if (subscription.Label is { } label) into.Property("label"u8, Encoding.UTF8.GetBytes(Quote(label)));
        if (subscription.Unit is { } unit) into.Property("unit"u8, Encoding.UTF8.GetBytes(Quote(unit)));
        into.Time(message.ArrivedAt);
        into.Property("quality"u8, values.Count > 0 ? "\"good\""u8 : "\"bad\""u8);
        if (values.Count == 0) into.Property("reason"u8, "\"invalid\""u8);
        WriteMap("values"u8, values, into);
        if (tags.Count > 0) WriteMap("tags"u8, tags, into);

        // The age of a retained value is unknown.
        if (message.IsRetained) into.Property("retained"u8, "true"u8);
        into.End();
    }

    static void WriteMap(
        ReadOnlySpan<byte> property, IReadOnlyCollection<KeyValuePair<string, string>> pairs, PayloadList into)
    {
        var text = new StringBuilder("{");
        foreach (var (key, json) in pairs)
        {
            if (text.Length > 1) text.Append(',');
            text.Append(Quote(key)).Append(':').Append(json);
        }

        into.Property(property, Encoding.UTF8.GetBytes(text.Append('}').ToString()));
    }

    static bool IsJson(ReadOnlySpan<byte> payload)
    {
        try
        {
            var reader = new Utf8JsonReader(payload);
            while (reader.Read())
            {
                // Validates each token.
            }

            return System.Text.Unicode.Utf8.IsValid(payload);
        }
        catch (JsonException)
        {
            return false;
        }
    }

    static string TypeOf(ReadOnlySpan<byte> payload) =>
        System.Text.Unicode.Utf8.IsValid(payload) && !payload.Contains((byte)0) ? Text : Binary;
}
