using System.Globalization;
using System.Text.Json;

namespace SensorForwarder.Readings;

/// <summary>The state of an alarm, as a reading of kind <see cref="Kind"/> reports a change of it. Immutable.</summary>
/// <param name="Name">What it watches for, such as <c>temperature above 30 for 60 s</c>; unique for its sensor.</param>
/// <param name="State"><see cref="Raised"/>, <see cref="Cleared"/> or <see cref="Removed"/>.</param>
/// <param name="Severity">From the settings.</param>
/// <param name="Condition">The option that names its condition, such as <c>above</c>.</param>
/// <param name="Since">When the condition began to hold; a report that it is over has the time of the one that it was
/// raised.</param>
internal sealed record AlarmReport(string Name, string State, string Severity, string Condition, DateTimeOffset Since)
{
    /// <summary>The kind of the reading.</summary>
    public const string Kind = "alarm";

    /// <summary>The property of the reading that has the report.</summary>
    public const string Property = "alarm";

    /// <summary>The states: its condition holds; no longer holds; is no longer in the settings.</summary>
    public const string Raised = "raised", Cleared = "cleared", Removed = "removed";

    const string TimeForm = "yyyy-MM-ddTHH:mm:ss.fffZ";

    // What follows the name of the sensor at the beginning of a payload.
    static ReadOnlySpan<byte> Start => "{\"sensor\":\""u8;

    static ReadOnlySpan<byte> KindAfterName => "\",\"kind\":\"alarm\""u8;

    /// <summary>The value that it watches; null: the sensor.</summary>
    public string? Value { get; init; }

    /// <summary>The limit of the condition; null: it has none.</summary>
    public double? Threshold { get; init; }

    /// <summary>Why the sensor could not be read; null: it could.</summary>
    public string? Reason { get; init; }

    /// <summary>Whether a payload, as <see cref="ReadingEncoder"/> writes it, is that of a report. A reading that
    /// another program sent may be of the same kind, but has no report.</summary>
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

    /// <summary>Reads what <see cref="Write"/> has written.</summary>
    /// <exception cref="Exception">KeyNotFoundException, InvalidOperationException or FormatException: it is something
    /// else.</exception>
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
            // It is damaged.
        }

        return false;
    }
}
