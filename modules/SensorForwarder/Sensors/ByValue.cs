using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors;

/// <summary>The value of an option that applies to all values of a sensor, or to some of them by name: a number, a band
/// or a curve. Immutable.</summary>
internal sealed class ByValue<T>
    where T : struct
{
    const int MaxValues = 64;

    readonly T? _all;
    readonly Dictionary<string, T> _byName;

    ByValue(T? all, Dictionary<string, T> byName) => (_all, _byName) = (all, byName);

    /// <summary>Reads one item; false: it is not allowed.</summary>
    public delegate bool Parser(JsonElement value, out T result);

    /// <summary>The values that are named; empty if one item applies to all.</summary>
    public IReadOnlyCollection<string> Names => _byName.Keys;

    /// <summary>The item of a value; null: it has none.</summary>
    public T? For(string name) => _all ?? (_byName.TryGetValue(name, out var item) ? item : null);

    /// <summary>The item or the map, as in the settings.</summary>
    public JsonNode ToJson(Func<T, JsonNode> format) => _all is { } all
        ? format(all)
        : new JsonObject(_byName.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)format(pair.Value))));

    public static bool TryRead(JsonElement value, Parser parse, out ByValue<T>? result)
    {
        result = null;
        if (parse(value, out var all))
        {
            result = new(all, []);
            return true;
        }

        if (value.ValueKind != JsonValueKind.Object) return false;
        var byName = new Dictionary<string, T>(StringComparer.Ordinal);
        foreach (var property in value.EnumerateObject())
        {
            if (property.Value.ValueKind == JsonValueKind.Null) continue;
            if (!parse(property.Value, out var item) || byName.Count == MaxValues) return false;
            byName[property.Name] = item;
        }

        result = byName.Count > 0 ? new(null, byName) : null;
        return true;
    }

    /// <summary>An option with one item for all values, or a map of them.</summary>
    /// <param name="name">The key.</param>
    /// <param name="shape">What is allowed.</param>
    /// <param name="parse">Reads one item.</param>
    /// <param name="format">Writes one item.</param>
    /// <param name="text">What the option does.</param>
    public static Option<ByValue<T>?> Option(
        string name, OptionShape shape, Parser parse, Func<T, JsonNode> format, string text) => new(
        name, shape, text, null, (value, out result) => TryRead(value, parse, out result),
        items => items?.ToJson(format));
}
