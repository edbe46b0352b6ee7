using System.Text.Json.Nodes;

namespace EdgeSimulator.Twins;

/// <summary>JSON merge patch (RFC 7386): objects merge, null deletes, everything else replaces.</summary>
internal static class MergePatch
{
    /// <summary>Merges a later patch into an earlier one. Nulls are kept, since they delete.</summary>
    public static void Combine(JsonObject earlier, JsonObject later)
    {
        foreach (var (name, value) in later)
        {
            if (value is JsonObject inner && earlier[name] is JsonObject existing)
            {
                Combine(existing, inner);
            }
            else
            {
                earlier[name] = value?.DeepClone();
            }
        }
    }

    public static void Apply(JsonObject target, JsonObject patch)
    {
        foreach (var (name, value) in patch)
        {
            if (value is null)
            {
                target.Remove(name);
            }
            else if (value is JsonObject inner)
            {
                if (target[name] is not JsonObject existing)
                {
                    existing = [];
                    target[name] = existing;
                }

                Apply(existing, inner);
            }
            else
            {
                target[name] = value.DeepClone();
            }
        }
    }
}
