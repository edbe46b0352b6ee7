using System.Text.Json.Nodes;

namespace SensorForwarder.Configuration;

/// <summary>
/// A change of forwarding settings that is rolled back if nothing can be forwarded with it. <see cref="SettingsStore"/>
/// saves it with the settings, so that a trial survives a restart; <see cref="SettingsTrial"/> decides. Immutable.
/// </summary>
/// <param name="Before">The accepted settings before the change.</param>
/// <param name="Keys">The keys that were changed.</param>
internal sealed record ChangeOnTrial(JsonObject Before, IReadOnlySet<string> Keys)
{
    /// <summary>The keys of the forwarding settings that differ.</summary>
    public static IReadOnlyList<string> KeysOf(Settings before, Settings now)
    {
        var rest = now with { Forwarding = before.Forwarding };
        return [.. SettingsTable.All
            .Where(definition => !JsonNode.DeepEquals(definition.Get(before), definition.Get(now))
                && JsonNode.DeepEquals(definition.Get(before), definition.Get(rest)))
            .Select(definition => definition.Key)];
    }

    public ChangeOnTrial With(IEnumerable<string> keys) => this with { Keys = Keys.Union(keys).ToHashSet() };

    public JsonObject ToJson() => new()
    {
        ["before"] = Before.DeepClone(),
        ["keys"] = new JsonObject(Keys.Select(key => KeyValuePair.Create(key, (JsonNode?)true))),
    };

    /// <summary>What <see cref="ToJson"/> wrote; null for anything else.</summary>
    public static ChangeOnTrial? FromJson(JsonObject saved) =>
        (saved["before"], saved["keys"]) is (JsonObject before, JsonObject keys)
            ? new(before.DeepClone().AsObject(), keys.Select(pair => pair.Key).ToHashSet())
            : null;
}
