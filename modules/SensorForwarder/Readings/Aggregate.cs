using System.Text.Json;

namespace SensorForwarder.Readings;

/// <summary>Statistics of the readings in a window of time; <see cref="Reading.Values"/> holds the means. Immutable.
/// </summary>
/// <param name="Seconds">The length of the window, which begins at a multiple of it in UTC.</param>
/// <param name="Readings">The number of readings with values.</param>
/// <param name="Values">Count and range of each value.</param>
internal sealed record Aggregate(
    int Seconds, long Readings, IReadOnlyList<KeyValuePair<string, ValueRange>> Values)
{
    static readonly JsonEncodedText SecondsName = JsonEncodedText.Encode("seconds");
    static readonly JsonEncodedText ReadingsName = JsonEncodedText.Encode("readings");
    static readonly JsonEncodedText UncertainName = JsonEncodedText.Encode("uncertain");
    static readonly JsonEncodedText BadName = JsonEncodedText.Encode("bad");
    static readonly JsonEncodedText PartialName = JsonEncodedText.Encode("partial");
    static readonly JsonEncodedText ValuesName = JsonEncodedText.Encode("values");
    static readonly JsonEncodedText CountName = JsonEncodedText.Encode("count");
    static readonly JsonEncodedText MinName = JsonEncodedText.Encode("min");
    static readonly JsonEncodedText MaxName = JsonEncodedText.Encode("max");
    static readonly JsonEncodedText LastName = JsonEncodedText.Encode("last");

    /// <summary>The number of readings with values whose quality was uncertain.</summary>
    public long Uncertain { get; init; }

    /// <summary>The number of readings without values.</summary>
    public long Bad { get; init; }

    /// <summary>Whether readings of the window may be missing or counted in another window: the module or the sensor
    /// was started or stopped during it, or the clock was set.</summary>
    public bool IsPartial { get; init; }

    public void WriteTo(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteNumber(SecondsName, Seconds);
        json.WriteNumber(ReadingsName, Readings);
        if (Uncertain > 0) json.WriteNumber(UncertainName, Uncertain);
        if (Bad > 0) json.WriteNumber(BadName, Bad);
        if (IsPartial) json.WriteBoolean(PartialName, true);
        json.WriteStartObject(ValuesName);
        foreach (var (name, range) in Values)
        {
            json.WriteStartObject(name);
            json.WriteNumber(CountName, range.Count);
            json.WriteNumber(MinName, range.Min);
            json.WriteNumber(MaxName, range.Max);
            json.WriteNumber(LastName, range.Last);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.WriteEndObject();
    }
}

/// <summary>Count and range of one value in a window.</summary>
/// <param name="Count">The number of readings with this value.</param>
internal readonly record struct ValueRange(long Count, double Min, double Max, double Last);
