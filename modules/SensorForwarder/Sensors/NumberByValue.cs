using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors;

/// <summary>One number for every value of a sensor, or a number for some of them, by name. Immutable.</summary>
internal sealed class NumberByValue
{
    const int MaxValues = 64;

    readonly double? _all;
    readonly Dictionary<string, double> _byName;

    NumberByValue(double? all, Dictionary<string, double> byName) => (_all, _byName) = (all, byName);

    /// <summary>The values that are named; empty when one number holds for all.</summary>
    public IReadOnlyCollection<string> Names => _byName.Keys;

    /// <summary>The number of a value; null: it has none.</summary>
    public double? For(string name) => _all ?? (_byName.TryGetValue(name, out var number) ? number : null);

    /// <summary>The number or the map, as it stands in the settings.</summary>
    public JsonNode ToJson() => _all is { } all
        ? all
        : new JsonObject(_byName.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value)));

    public static bool TryRead(JsonElement value, double min, double max, out NumberByValue? result)
    {
        result = null;
        if (Option.TryNumber(value, min, max, out var all))
        {
            result = new(all, []);
            return true;
        }

        if (value.ValueKind != JsonValueKind.Object) return false;
        var byName = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach (var property in value.EnumerateObject())
        {
            if (property.Value.ValueKind == JsonValueKind.Null) continue;
            if (!Option.TryNumber(property.Value, min, max, out var number)
                || byName.Count == MaxValues) return false;
            byName[property.Name] = number;
        }

        result = byName.Count > 0 ? new(null, byName) : null;
        return true;
    }
}
