using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>A reading as a Plug and Play message.</summary>
/// <param name="Body">One JSON object whose keys are the telemetry names of the model in <c>model/</c>.</param>
/// <param name="Component">The component of the model that it belongs to (<c>$.sub</c>); null: the root
/// component.</param>
/// <param name="Tags">The tags of the reading, sent as properties of the message: a model can't contain telemetry with
/// arbitrary names.</param>
internal sealed record PnpMessage(ReadOnlyMemory<byte> Body, string? Component, Tags Tags);

/// <summary>
/// Encodes one reading as <c>{"sensor":"attic","time":"..","quality":"good","temperature":21.43}</c>, so that IoT
/// Central and Azure IoT Explorer show it without a mapping. Thread-safe.
/// </summary>
internal static class PnpEncoder
{
    /// <summary>Properties that a message may have besides the values.</summary>
    public static readonly IReadOnlyList<string> CommonNames =
        ["sensor", "label", "time", "timeQuality", "quality", "reason", "unit"];

    /// <summary>The property with the state and name of an alarm.</summary>
    public const string AlarmName = "alarm";

    const int MaxNameLength = 64;
    static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The component of the model with the values of a kind; null: the root component.</summary>
    public static string? ComponentOf(string kind) => kind switch
    {
        "host" => "host",
        "gap" => "buffer",
        _ => null,
    };

    /// <summary>Encodes a reading; null: the payload is not JSON, because the file is damaged.</summary>
    public static PnpMessage? Encode(BufferedReading reading)
    {
        try
        {
            using var data = JsonDocument.Parse(reading.Payload);
            return Encode(data.RootElement, reading.Payload.Length);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return null;
        }
    }

    static PnpMessage Encode(JsonElement data, int lengthHint)
    {
        var bytes = new ArrayBufferWriter<byte>(lengthHint + 16);
        using (var json = new Utf8JsonWriter(bytes, Options))
        {
            json.WriteStartObject();
            foreach (var name in CommonNames)
            {
                if (data.TryGetProperty(name, out var value)) Write(json, name, value);
            }

            if (data.TryGetProperty(AlarmName, out var alarm) && alarm.ValueKind == JsonValueKind.Object
                && alarm.TryGetProperty("state", out var state) && alarm.TryGetProperty("name", out var what))
                json.WriteString(AlarmName, $"{state.GetString()}: {what.GetString()}");
            WriteNumbers(json, data, "values");
            WriteNumbers(json, data, "gap");
            json.WriteEndObject();
        }

        var kind = data.TryGetProperty("kind", out var named) ? named.GetString() : null;
        var tags = data.TryGetProperty("tags", out var own) ? Tags.Usable(own) : Tags.None;
        return new(bytes.WrittenMemory, ComponentOf(kind ?? ""), tags);
    }

    // A value that is not a number is omitted: the model has no null.
    static void WriteNumbers(Utf8JsonWriter json, JsonElement data, string section)
    {
        if (!data.TryGetProperty(section, out var values) || values.ValueKind != JsonValueKind.Object) return;
        foreach (var value in values.EnumerateObject())
        {
            // A gap entry has its count in both sections.
            if (value.Value.ValueKind == JsonValueKind.Number && !(section == "gap" && value.NameEquals("count"u8)))
                Write(json, TelemetryName(value.Name), value.Value);
        }
    }

    static void Write(Utf8JsonWriter json, string name, JsonElement value)
    {
        json.WritePropertyName(name);
        value.WriteTo(json);
    }

    /// <summary>Converts a name to one that DTDL allows: at most 64 letters, digits and underscores, starting with a
    /// letter and not ending with an underscore.</summary>
    public static string TelemetryName(string name)
    {
        var letters = string.Concat(name.Take(MaxNameLength).Select(c => char.IsAsciiLetterOrDigit(c) ? c : '_'))
            .TrimEnd('_');
        if (letters.Length == 0 || !char.IsAsciiLetter(letters[0])) letters = $"v{letters}";
        if (letters == AlarmName || CommonNames.Contains(letters)) letters += "Value";
        return letters.Length <= MaxNameLength ? letters : letters[..MaxNameLength].TrimEnd('_');
    }
}
