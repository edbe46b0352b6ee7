using System.Text.Json.Nodes;

namespace SensorForwarder.EdgeHub;

/// <summary>JSON merge patches (RFC 7396), as twins use them. Stateless; copies all nodes that it takes over.</summary>
internal static class MergePatch
{
    /// <summary>Applies <paramref name="patch"/> to <paramref name="target"/>.</summary>
    public static void Apply(JsonObject target, JsonObject patch)
    {
        foreach (var (key, value) in patch)
        {
            switch (value)
            {
                case null:
                    target.Remove(key);
                    break;
                case JsonObject inner:
                    if (target[key] is not JsonObject existing) target[key] = existing = [];
                    Apply(existing, inner);
                    break;
                default:
                    target[key] = value.DeepClone();
                    break;
            }
        }
    }

    /// <summary>Extends <paramref name="first"/> so that it has the effect of both patches in this order.</summary>
    /// <returns>False when no single patch has that effect; <paramref name="first"/> is unchanged then.</returns>
    public static bool TryCompose(JsonObject first, JsonObject second)
    {
        if (!CanCompose(first, second)) return false;
        Compose(first, second);
        return true;
    }

    /// <summary>False when a key is removed or set to a plain value by the first patch and to an object by the second:
    /// a single patch would merge the object into the value that the key had before both.</summary>
    static bool CanCompose(JsonObject first, JsonObject second)
    {
        foreach (var (key, value) in second)
        {
            if (value is not JsonObject inner || !first.TryGetPropertyValue(key, out var existing)) continue;
            if (existing is not JsonObject outer || !CanCompose(outer, inner)) return false;
        }

        return true;
    }

    static void Compose(JsonObject first, JsonObject second)
    {
        foreach (var (key, value) in second)
        {
            if (value is JsonObject inner && first[key] is JsonObject outer) Compose(outer, inner);
            else first[key] = value?.DeepClone();
        }
    }
}
