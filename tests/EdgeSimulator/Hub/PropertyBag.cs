namespace EdgeSimulator.Hub;

/// <summary>Parses the properties in a telemetry topic: <c>%24.mid=m0&amp;a%20b=c</c>.</summary>
internal static class PropertyBag
{
    /// <summary>
    /// Parses like edgeHub: an invalid percent escape stays unchanged, a key may have no value, the last of duplicate
    /// keys wins. Returns false for what edgeHub acknowledges and drops: an empty pair, a second '=' in a pair, a raw
    /// '/'.
    /// </summary>
    public static bool TryParse(string bag, out IReadOnlyDictionary<string, string?> properties, out string error)
    {
        var parsed = new Dictionary<string, string?>(StringComparer.Ordinal);
        properties = parsed;
        error = "";
        bag = bag.EndsWith('/') ? bag[..^1] : bag;
        if (bag.Length == 0)
        {
            return true;
        }

        if (bag.Contains('/', StringComparison.Ordinal))
        {
            error = $"a raw '/' in the properties '{bag}'";
            return false;
        }

        foreach (var pair in bag.Split('&'))
        {
            var parts = pair.Split('=');
            if (parts[0].Length == 0 || parts.Length > 2)
            {
                error = $"'{pair}' in the properties '{bag}' is not key=value";
                return false;
            }

            parsed[Uri.UnescapeDataString(parts[0])] = parts.Length == 2 ? Uri.UnescapeDataString(parts[1]) : null;
        }

        return true;
    }
}
