using System.Globalization;
using System.Text;
using System.Text.Json;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Reads what a receiver says about single readings, in <c>accepted</c> and <c>rejected</c> at the root of a JSON
/// answer. Many receivers use these words for something else. An answer that may leave a reading out is never an
/// acceptance: what can't be understood is reported, and the batch is sent again.
/// </summary>
internal static class PartialAnswerReader
{
    const string AcceptedName = "accepted";
    const string RejectedName = "rejected";

    /// <summary>Reads the answer to a batch that was taken as a whole or in part.</summary>
    /// <param name="answer">The JSON text; whatever else it may be.</param>
    /// <param name="ids">The ids of the batch.</param>
    /// <param name="partial">What it says; null: nothing, and the batch is accepted as a whole.</param>
    /// <returns>Null, or the part of the answer that can't be understood.</returns>
    public static string? ReadAccepted(ReadOnlySpan<byte> answer, IReadOnlySet<long> ids, out PartialAnswer? partial)
    {
        partial = null;
        using var document = Parse(answer);
        if (document is null) return HasWords(answer) ? Encoding.UTF8.GetString(answer) : null;
        var root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object) return null;
        if (!TryFind(root, AcceptedName, out var accepted) || !TryFind(root, RejectedName, out var rejected))
            return root.GetRawText();
        if (ReadRejected(rejected) is not { } reasons || !reasons.Keys.All(ids.Contains))
            return rejected!.Value.GetRawText();
        if (!TryReadAccepted(accepted, ids, reasons.Count, out var named)) return accepted!.Value.GetRawText();
        if (named?.Overlaps(reasons.Keys) == true) return root.GetRawText();
        if (named is not null || reasons.Count > 0) partial = new(named, reasons);
        return null;
    }

    /// <summary>Reads the answer to a batch that was refused: the readings that it names,
    /// and why; null: none.</summary>
    public static PartialAnswer? ReadRefused(ReadOnlySpan<byte> answer, IReadOnlySet<long> ids)
    {
        using var document = Parse(answer);
        if (document?.RootElement is not { ValueKind: JsonValueKind.Object } root) return null;
        if (!TryFind(root, RejectedName, out var rejected)) return null;
        if (rejected is not { ValueKind: JsonValueKind.Array } list) return null;
        var reasons = new Dictionary<long, string>();
        foreach (var item in list.EnumerateArray())
        {
            if (ReadId(item) is { } id && ids.Contains(id)) reasons[id] = ReadReason(item);
        }

        return reasons.Count == 0 ? null : new(null, reasons);
    }

    /// <summary>Whether one of the words stands in a text, JSON or not.</summary>
    public static bool HasWords(ReadOnlySpan<byte> answer)
    {
        var text = Encoding.Latin1.GetString(answer);
        return text.Contains(AcceptedName, StringComparison.OrdinalIgnoreCase)
            || text.Contains(RejectedName, StringComparison.OrdinalIgnoreCase);
    }

    static JsonDocument? Parse(ReadOnlySpan<byte> answer)
    {
        try
        {
            var reader = new Utf8JsonReader(answer);
            return JsonDocument.TryParseValue(ref reader, out var document) ? document : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>The ids that it names; null: all but those rejected.</summary>
    static bool TryReadAccepted(JsonElement? value, IReadOnlySet<long> ids, int rejected, out HashSet<long>? named)
    {
        named = null;
        if (value is not { } accepted || accepted.ValueKind == JsonValueKind.True) return true;
        if (accepted.ValueKind == JsonValueKind.Array)
        {
            named = [];
            foreach (var item in accepted.EnumerateArray())
            {
                if (ReadId(item) is not { } id) return false;
                named.Add(id);
            }

            if (named.IsSubsetOf(ids)) return true;

            // Numbers of its own, or of earlier batches, too: it has all if there is one for each.
            var isAll = rejected == 0 && (named.Count == ids.Count || named.IsSupersetOf(ids));
            named = null;
            return isAll;
        }

        if (ReadCount(accepted) is not { } count) return false;
        if (count == 0) named = [];
        return count == 0 || count == ids.Count - rejected;
    }

    /// <summary>The ids that it names, and why; null: it can't be understood.</summary>
    static Dictionary<long, string>? ReadRejected(JsonElement? value)
    {
        var reasons = new Dictionary<long, string>();
        if (value is not { } rejected) return reasons;
        if (rejected.ValueKind != JsonValueKind.Array) return ReadCount(rejected) == 0 ? reasons : null;
        foreach (var item in rejected.EnumerateArray())
        {
            if (ReadId(item) is not { } id) return null;
            reasons[id] = ReadReason(item);
        }

        return reasons;
    }

    /// <summary>How many it says; null: no number. Null is how some languages write an empty list.</summary>
    static long? ReadCount(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => 0,
        JsonValueKind.Number or JsonValueKind.String => ReadWhole(value),
        _ => null,
    };

    /// <summary>An id, or the <c>id</c> of an object.</summary>
    static long? ReadId(JsonElement item)
    {
        if (item.ValueKind != JsonValueKind.Object) return ReadWhole(item);
        return TryFind(item, "id", out var id) && id is { } number ? ReadWhole(number) : null;
    }

    /// <summary>A number such as 3, 3.0 or "3".</summary>
    static long? ReadWhole(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Number when value.TryGetInt64(out var whole) => whole,
        JsonValueKind.Number when value.TryGetDecimal(out var number) && number == decimal.Truncate(number)
            && number is >= long.MinValue and <= long.MaxValue => (long)number,
        JsonValueKind.String when long.TryParse(
            ReadText(value), NumberStyles.None, CultureInfo.InvariantCulture, out var digits) => digits,
        _ => null,
    };

    static string ReadReason(JsonElement item)
    {
        const string None = "no reason given";
        if (item.ValueKind != JsonValueKind.Object || !TryFind(item, "reason", out var reason)) return None;
        return reason is { ValueKind: JsonValueKind.String } text ? ReadText(text) ?? "reason is not readable" : None;
    }

    /// <summary>The property of that name, in upper or lower case; null when there is none.</summary>
    /// <returns>False: there are several.</returns>
    static bool TryFind(JsonElement item, string name, out JsonElement? found)
    {
        found = null;
        foreach (var property in item.EnumerateObject())
        {
            if (!name.Equals(ReadName(property), StringComparison.OrdinalIgnoreCase)) continue;
            if (found is not null) return false;
            found = property.Value;
        }

        return true;
    }

    // JSON parses with bytes that are no UTF-8, and with half a character: such a name is another, such
    // a text no number.
    static string? ReadName(JsonProperty property)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }

    static string? ReadText(JsonElement text)
    {
        try
        {
            return text.GetString();
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }
}
