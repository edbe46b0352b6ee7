namespace SensorForwarder.Text;

/// <summary>Suggests the known name closest to a misspelled one.</summary>
/// <param name="Name">A known name that begins with the given text, or the one with the fewest edits, ignoring case.
/// </param>
/// <param name="IsNear">Whether it is likely that this name was meant.</param>
internal readonly record struct NearestName(string Name, bool IsNear)
{
    /// <summary>A question to append to a message, in parentheses; empty: no name is near.</summary>
    public string Hint => IsNear ? $" (did you mean {Name}?)" : "";

    const int MaxLength = 64;
    const int MinPrefixLength = 4;

    /// <summary>Finds the closest name.</summary>
    /// <param name="written">The misspelled name.</param>
    /// <param name="known">At least one name.</param>
    public static NearestName Find(string written, IReadOnlyCollection<string> known)
    {
        var name = written.Length > MaxLength ? written[..MaxLength] : written;
        if (name.Length >= MinPrefixLength && known.FirstOrDefault(
            candidate => candidate.StartsWith(name, StringComparison.OrdinalIgnoreCase)) is { } longer)
            return new(longer, true);
        var nearest = known.MinBy(candidate => Distance(candidate, name))!;
        return new(nearest, written.Length <= MaxLength && Distance(nearest, name) <= Math.Max(2, nearest.Length / 3));
    }

    /// <summary>The Levenshtein distance between two names.</summary>
    static int Distance(string a, string b)
    {
        var row = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var same = char.ToLowerInvariant(a[i - 1]) == char.ToLowerInvariant(b[j - 1]);
                var cost = Math.Min(Math.Min(row[j], row[j - 1]) + 1, diagonal + (same ? 0 : 1));
                diagonal = row[j];
                row[j] = cost;
            }
        }

        return row[b.Length];
    }
}
