using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors;

/// <summary>A text for some of the values of a sensor, by name. Immutable.</summary>
internal sealed class TextByValue
{
    const int MaxValues = 64;

    readonly Dictionary<string, string> _byName;

    TextByValue(Dictionary<string, string> byName) => _byName = byName;

    /// <summary>The values that are named.</summary>
    public IReadOnlyCollection<string> Names => _byName.Keys;

    /// <summary>The text of a value; null: it has none.</summary>
    public string? For(string name) => _byName.GetValueOrDefault(name);

    /// <summary>The map, as in the settings.</summary>
    public JsonNode ToJson() =>
        new JsonObject(_byName.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value)));

    public static bool TryRead(JsonElement value, int maxLength, out TextByValue? result)
    {
        result = null;
        if (value.ValueKind != JsonValueKind.Object) return false;
        var byName = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var property in value.EnumerateObject())
        {
            if (property.Value.ValueKind == JsonValueKind.Null) continue;
            if (property.Value.ValueKind != JsonValueKind.String || byName.Count == MaxValues) return false;
            var text = property.Value.GetString()!;
            if (!Option.IsText(text, maxLength)) return false;
            byName[property.Name] = text;
        }

        result = byName.Count > 0 ? new(byName) : null;
        return true;
    }
}
