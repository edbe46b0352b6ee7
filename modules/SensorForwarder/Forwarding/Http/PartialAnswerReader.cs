using System.Globalization;
using System.Text;
using System.Text.Json;

namespace SensorForwarder.Forwarding.Http;

/// <summary>
/// Reads the results of single readings from <c>accepted</c> and <c>rejected</c> at the root of a JSON answer. Many
/// receivers use these words for something else. An answer counts as accepted only if it covers every reading; a part
/// that can't be understood is reported, and the batch is sent again. Stateless.
/// </summary>
internal static class PartialAnswerReader
{
    const string AcceptedName = "accepted";
    const string RejectedName = "rejected";

    /// <summary>Reads an answer with a 2xx status.</summary>
    /// <param name="answer">The body; need not be JSON.</param>
    /// <param name="ids">The ids of the batch.</param>
    /// <param name="partial">The results; null: none, the whole batch is accepted.</param>
    /// <returns>The part of the answer that can't be understood; null: all of it can.</returns>
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

    /// <summary>Reads an answer with a 400 or 422 status: the rejected readings that it names, with reasons; null:
    /// none.</summary>
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

    /// <summary>Whether a text, JSON or not, contains <c>accepted</c> or <c>rejected</c>.</summary>
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

    /// <summary>Reads the value of <c>accepted</c>: the ids in it; null: all but the rejected ones.</summary>
    /// <returns>False: the value can't be understood.</returns>
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

            // The numbers may be the receiver's own ids, or include earlier batches: one per reading is enough.
            var isAll = rejected == 0 && (named.Count == ids.Count || named.IsSupersetOf(ids));
            named = null;
            return isAll;
        }

        if (ReadCount(accepted) is not { } count) return false;
        if (count == 0) named = [];
        return count == 0 || count == ids.Count - rejected;
    }

    /// <summary>Reads the value of <c>rejected</c>: ids and reasons; null: the value can't be understood.</summary>
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

    /// <summary>A count; null: not a number. JSON null counts as 0: some languages write an empty list as
    /// null.</summary>
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
            ReadText(value.GetString), NumberStyles.None, CultureInfo.InvariantCulture, out var digits) => digits,
        _ => null,
    };

    static string ReadReason(JsonElement item)
    {
        const string None = "no reason given";
        if (item.ValueKind != JsonValueKind.Object || !TryFind(item, "reason", out var reason)) return None;
        if (reason is not { ValueKind: JsonValueKind.String } text) return None;
        return ReadText(text.GetString) ?? "reason is not readable";
    }

    /// <summary>Finds a property, ignoring case; null: there is none.</summary>
    /// <returns>False: there are several.</returns>
    static bool TryFind(JsonElement item, string name, out JsonElement? found)
    {
        found = null;
        foreach (var property in item.EnumerateObject())
        {
            if (!name.Equals(ReadText(() => property.Name), StringComparison.OrdinalIgnoreCase)) continue;
            if (found is not null) return false;
            found = property.Value;
        }

        return true;
    }

    // Null: a JSON string with invalid UTF-8 or half a surrogate pair.
    static string? ReadText(Func<string?> text)
    {
        try
        {
            return text();
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }
}
