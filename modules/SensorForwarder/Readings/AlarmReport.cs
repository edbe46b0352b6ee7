using System.Globalization;
using System.Text.Json;

namespace SensorForwarder.Readings;

/// <summary>A change of an alarm's state, which a reading of kind <see cref="Kind"/> reports. Immutable.</summary>
/// <param name="Name">The condition, such as <c>temperature above 30 for 60 s</c>; unique for its sensor.</param>
/// <param name="State"><see cref="Raised"/>, <see cref="Cleared"/> or <see cref="Removed"/>.</param>
/// <param name="Severity">From the settings.</param>
/// <param name="Condition">The option that names the condition, such as <c>above</c>.</param>
/// <param name="Since">When the condition began to hold. A report that the alarm is cleared or removed repeats the time
/// of the report that it was raised.</param>
internal sealed record AlarmReport(string Name, string State, string Severity, string Condition, DateTimeOffset Since)
{
    /// <summary>The kind of the reading.</summary>
    public const string Kind = "alarm";

    /// <summary>The property of the payload that contains the report.</summary>
    public const string Property = "alarm";

    /// <summary>The states: the condition holds, no longer holds, or is no longer in the settings.</summary>
    public const string Raised = "raised", Cleared = "cleared", Removed = "removed";

    const string TimeForm = "yyyy-MM-ddTHH:mm:ss.fffZ";

    // The payload of a report begins with Start, the name of the sensor, and KindAfterName.
    static ReadOnlySpan<byte> Start => "{\"sensor\":\""u8;

    static ReadOnlySpan<byte> KindAfterName => "\",\"kind\":\"alarm\""u8;

    /// <summary>The name of the watched value; null: the alarm watches the sensor.</summary>
    public string? Value { get; init; }

    /// <summary>The limit in the condition; null: it has none.</summary>
    public double? Threshold { get; init; }

    /// <summary>Why the sensor could not be read; null: it was read.</summary>
    public string? Reason { get; init; }

    /// <summary>Whether a payload written by <see cref="ReadingEncoder"/> contains a report. A reading of another
    /// program may have the same kind, but contains no report.</summary>
    public static bool IsIn(ReadOnlySpan<byte> payload) =>
        payload.StartsWith(Start) && payload[Start.Length..] is var name && name.IndexOf((byte)'"') is var end and >= 0
        && name[end..].StartsWith(KindAfterName) && HasReport(payload);

    public void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("name"u8, Name);
        json.WriteString("state"u8, State);
        json.WriteString("severity"u8, Severity);
        json.WriteString("condition"u8, Condition);
        if (Value is not null) json.WriteString("value"u8, Value);
        if (Threshold is { } threshold) json.WriteNumber("threshold"u8, threshold);
        if (Reason is not null) json.WriteString("reason"u8, Reason);
        json.WriteString("since"u8, Since.UtcDateTime.ToString(TimeForm, CultureInfo.InvariantCulture));
        json.WriteEndObject();
    }

    /// <summary>Reads an object that <see cref="Write"/> wrote.</summary>
    /// <exception cref="Exception">KeyNotFoundException, InvalidOperationException or FormatException: the JSON is not
    /// such an object.</exception>
    public static AlarmReport Read(JsonElement json)
    {
        return new(Text("name")!, Text("state")!, Text("severity")!, Text("condition")!,
            json.GetProperty("since").GetDateTimeOffset())
        {
            Value = json.TryGetProperty("value", out _) ? Text("value") : null,
            Threshold = json.TryGetProperty("threshold", out var threshold) ? threshold.GetDouble() : null,
            Reason = json.TryGetProperty("reason", out _) ? Text("reason") : null,
        };

        string? Text(string name) => json.GetProperty(name).GetString();
    }

    static bool HasReport(ReadOnlySpan<byte> payload)
    {
        try
        {
            var reader = new Utf8JsonReader(payload);
            reader.Read();
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (reader.ValueTextEquals(Property)) return true;
                reader.Skip();
            }
        }
        catch (JsonException)
        {
            // The payload is damaged.
        }

        return false;
    }
}
