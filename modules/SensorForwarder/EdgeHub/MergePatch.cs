using System.Text.Json.Nodes;

namespace SensorForwarder.EdgeHub;

/// <summary>JSON merge patches (RFC 7396), the language of twins. Pure; nothing is shared with what is given.</summary>
internal static class MergePatch
{
    /// <summary>Changes <paramref name="target"/> as <paramref name="patch"/> says.</summary>
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

    /// <summary>Makes <paramref name="first"/> mean: itself, and then <paramref name="second"/>. False when no single
    /// patch means that; <paramref name="first"/> is then as it was.</summary>
    public static bool TryCompose(JsonObject first, JsonObject second)
    {
        if (!CanCompose(first, second)) return false;
        Compose(first, second);
        return true;
    }

    /// <summary>A key that is removed or replaced by a plain value, and then becomes an object, does not fit into one
    /// patch: the object would be merged into what the key had held before.</summary>
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
