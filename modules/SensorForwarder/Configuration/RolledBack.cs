using System.Text.Json.Nodes;

namespace SensorForwarder.Configuration;

/// <summary>
/// A change that was rolled back, because nothing could be forwarded after it. It stays refused, also after a restart
/// and when the hub sends the same twin again, until one of its values changes. Immutable.
/// </summary>
/// <param name="Reason">Why it is refused, for the acknowledgement.</param>
/// <param name="Values">The refused values by key; null: the document had no value.</param>
internal sealed record RolledBack(string Reason, JsonObject Values)
{
    public bool Refuses(string key) => Values.ContainsKey(key);

    /// <summary>Whether the document still has all the refused values.</summary>
    public bool IsStillIn(JsonObject document) =>
        Values.All(pair => JsonNode.DeepEquals(document[pair.Key], pair.Value));

    public JsonObject ToJson() => new() { ["reason"] = Reason, ["values"] = Values.DeepClone() };

    /// <summary>What <see cref="ToJson"/> wrote; null for anything else.</summary>
    public static RolledBack? FromJson(JsonObject saved) =>
        (saved["reason"], saved["values"]) is (JsonValue reason, JsonObject { Count: > 0 } values)
            && reason.TryGetValue<string>(out var text)
            ? new(text, values.DeepClone().AsObject())
            : null;
}
