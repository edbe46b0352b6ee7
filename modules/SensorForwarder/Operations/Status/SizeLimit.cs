using System.Text;
using System.Text.Json.Nodes;

namespace SensorForwarder.Operations.Status;

/// <summary>Shortens JSON that exceeds a limit of the hub. Stateless; any thread.</summary>
internal static class SizeLimit
{
    /// <summary>Maximum size of a direct method's answer. IoT Hub's limit is 128 KB, including what it adds.</summary>
    public const int MaxAnswerBytes = 96 << 10;

    /// <summary>Maximum size of the <c>status</c> section. The hub's limit is 32 KB for all reported properties; the
    /// rest is for the acknowledgements.</summary>
    public const int MaxReportedBytes = 7 << 10;

    /// <summary>Removes entries from the end of the largest list or map until the JSON fits.</summary>
    /// <param name="maxBytes">Maximum size of the result; at least 4 KB.</param>
    /// <param name="note">Adds to the shortened JSON how many entries were removed; it gets the numbers by list name.
    /// Not called for JSON that fits.</param>
    public static ReadOnlyMemory<byte> Apply(
        ReadOnlyMemory<byte> json, int maxBytes, Action<JsonObject, IReadOnlyDictionary<string, int>> note)
    {
        if (json.Length <= maxBytes) return json;
        var left = JsonNode.Parse(json.Span)!.AsObject();
        var leftOut = new Dictionary<string, int>();
        do
        {
            var (name, list) = Largest("answer", left);
            leftOut[name] = leftOut.GetValueOrDefault(name) + RemoveFromEnd(list, json.Length - maxBytes);
            var noted = left.DeepClone().AsObject();
            note(noted, leftOut);
            json = Encoding.UTF8.GetBytes(noted.ToJsonString());
        }
        while (json.Length > maxBytes);

        return json;
    }

    // The list or map that makes the JSON large: none of its entries takes more than half of it.
    static (string Name, JsonNode List) Largest(string name, JsonNode list)
    {
        while (true)
        {
            var (entryName, entry) = Entries(list).MaxBy(pair => Bytes(pair.Node));
            if (entry is not (JsonObject or JsonArray) || !Entries(entry).Any() || Bytes(entry) * 2 < Bytes(list))
                return (name, list);
            (name, list) = (entryName ?? name, entry);
        }
    }

    // Removes at least one, so that each round makes the JSON smaller.
    static int RemoveFromEnd(JsonNode list, int bytes)
    {
        var removed = 0;
        do
        {
            if (list is JsonArray array)
            {
                bytes -= Bytes(array[^1]) + 1;
                array.RemoveAt(array.Count - 1);
            }
            else
            {
                var map = list.AsObject();
                var (name, last) = map.GetAt(map.Count - 1);
                bytes -= Bytes(name) + Bytes(last) + 2;
                map.RemoveAt(map.Count - 1);
            }

            removed++;
        }
        while (bytes > 0 && Entries(list).Any());

        return removed;
    }

    static IEnumerable<(string? Name, JsonNode? Node)> Entries(JsonNode? list) => list switch
    {
        JsonArray array => array.Select(node => ((string?)null, node)),
        JsonObject map => map.Select(pair => ((string?)pair.Key, pair.Value)),
        _ => [],
    };

    static int Bytes(JsonNode? node) => node is null ? 4 : Encoding.UTF8.GetByteCount(node.ToJsonString());
}
