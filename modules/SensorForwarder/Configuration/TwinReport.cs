using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace SensorForwarder.Configuration;

/// <summary>
/// Builds the reported properties that acknowledge settings, <c>{value, ac, av, ad}</c>, by the Plug and Play
/// convention (https://learn.microsoft.com/azure/iot/concepts-convention). <c>ac</c> is 200: accepted, perhaps with a
/// note; 203: default, with version 0; 400: refused, with the reason and the value that stays in force. The sizes are
/// limited so that the acknowledgements and the status fit in the hub's 32 KB. Stateless.
/// </summary>
internal static class TwinReport
{
    public const string UnknownKey = "unknownSettings";

    const int MaxMapBytes = 6 << 10;
    const int MaxValueBytes = 2100;
    const int MaxReasonBytes = 480;
    const int MaxListBytes = 1500;

    // edge-hub/core/src/Microsoft.Azure.Devices.Edge.Hub.Core/twin/ReportedPropertiesValidator.cs
    const int MaxNameBytes = 1024;
    const int MaxTextBytes = 4096;
    const int MaxDepth = 7; // of 10: the key, "value" and the map itself are above
    const double MaxNumber = 1L << 52;

    /// <summary>The patch that brings the reported properties up to date.</summary>
    /// <param name="parsed">What is in force.</param>
    /// <param name="reported">The reported properties so far; equal entries are left out.</param>
    public static JsonObject Patch(ParsedSettings parsed, JsonObject reported)
    {
        var patch = new JsonObject();
        foreach (var verdict in parsed.Verdicts)
        {
            var entry = Acknowledge(verdict, parsed.Version);
            if (JsonNode.DeepEquals(entry, reported[verdict.Key])) continue;
            patch[verdict.Key] = entry;
            RemoveGone(entry, reported[verdict.Key] as JsonObject ?? []);
        }

        var unknown = Unknown(parsed);
        if (!JsonNode.DeepEquals(unknown, reported[UnknownKey])) patch[UnknownKey] = unknown;
        return patch;
    }

    /// <summary>Adds to a section a null for each property that it no longer has: the hub merges patches, and only null
    /// removes a property.</summary>
    public static void RemoveGone(JsonObject now, JsonObject before)
    {
        foreach (var (name, old) in before)
        {
            if (!now.ContainsKey(name)) now[name] = null;
            else if (now[name] is JsonObject inner && old is JsonObject outer) RemoveGone(inner, outer);
        }
    }

    /// <summary>The acknowledgements of some keys, for the answer of a direct method.</summary>
    /// <param name="parsed">What is in force.</param>
    /// <param name="isWanted">Selects the keys.</param>
    public static JsonObject Describe(ParsedSettings parsed, Func<string, bool> isWanted) => new(parsed.Verdicts
        .Where(verdict => isWanted(verdict.Key))
        .Select(verdict => KeyValuePair.Create(verdict.Key, (JsonNode?)Acknowledge(verdict, parsed.Version))));

    /// <summary>The unknown keys in one text; null when there are none.</summary>
    public static string? Unknown(ParsedSettings parsed) =>
        parsed.UnknownKeys.Count == 0 ? null : Shorten(string.Join("; ", parsed.UnknownKeys), MaxListBytes);

    static JsonObject Acknowledge(SettingVerdict verdict, long version)
    {
        var isMap = verdict.Key == SettingsTable.SensorsKey;
        var entry = new JsonObject();
        if (verdict.Value is { } value && Bytes(value) <= (isMap ? MaxMapBytes : MaxValueBytes)
            && HubTakes(value, MaxDepth))
            entry["value"] = WithoutNulls(value.DeepClone());
        entry["ac"] = verdict.Error is not null ? 400 : verdict.IsDefault ? 203 : 200;
        entry["av"] = verdict is { Error: null, IsDefault: true } ? 0 : version;
        if ((verdict.Error ?? verdict.Note) is { } text) entry["ad"] = Shorten(
            text, isMap ? MaxListBytes : MaxReasonBytes);
        return entry;
    }

    // To the hub, null means: delete the property.
    static JsonNode WithoutNulls(JsonNode node)
    {
        if (node is not JsonObject map) return node;
        foreach (var (name, value) in map.ToList())
        {
            if (value is null) map.Remove(name);
            else WithoutNulls(value);
        }

        return map;
    }

    /// <summary>Whether the hub accepts a reported value. For one invalid value it rejects the whole patch.</summary>
    static bool HubTakes(JsonNode? node, int depth) => node switch
    {
        null => false,
        JsonObject inner =>
            depth > 0 && inner.All(pair => IsName(pair.Key) && (pair.Value is null || HubTakes(pair.Value, depth - 1))),
        JsonArray list => list.All(item => HubTakes(item, depth)),
        JsonValue value when value.GetValueKind() == JsonValueKind.String =>
            Encoding.UTF8.GetByteCount(value.GetValue<string>()) <= MaxTextBytes,
        JsonValue value when value.GetValueKind() == JsonValueKind.Number =>
            double.TryParse(value.ToJsonString(), CultureInfo.InvariantCulture, out var number)
                && Math.Abs(number) <= MaxNumber,
        _ => true,
    };

    static bool IsName(string name) => Encoding.UTF8.GetByteCount(name) <= MaxNameBytes
        && !name.Any(c => c is '.' or '$' or '#' || char.IsWhiteSpace(c) || char.IsControl(c));

    static int Bytes(JsonNode node) => Encoding.UTF8.GetByteCount(node.ToJsonString());

    static string Shorten(string text, int maxBytes)
    {
        if (Bytes(text) <= maxBytes) return text;
        var length = Math.Min(text.Length, maxBytes);
        while (length > 0 && Bytes(text[..length]) + 3 > maxBytes) length -= Math.Max(1, length / 16);
        if (length > 0 && char.IsHighSurrogate(text[length - 1])) length--;
        return text[..length] + "...";
    }
}
