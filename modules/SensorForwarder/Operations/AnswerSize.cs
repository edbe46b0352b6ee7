using System.Text;
using System.Text.Json.Nodes;

namespace SensorForwarder.Operations;

/// <summary>Shortens the answer of a direct method that is larger than the hub takes. Stateless; any thread.</summary>
internal static class AnswerSize
{
    /// <summary>Removes entries from the end of the largest list or map until the answer fits, and adds how many were
    /// removed (<c>leftOut</c>, by the name of the list) and how to get them (<c>more</c>).</summary>
    /// <param name="answer">A JSON object that is too large.</param>
    /// <param name="maxBytes">Of the result; 4 KB at least.</param>
    /// <param name="more">How to get the rest; called with what is left.</param>
    public static byte[] Limit(ReadOnlyMemory<byte> answer, int maxBytes, Func<JsonObject, string> more)
    {
        var json = JsonNode.Parse(answer.Span)!.AsObject();
        var leftOut = new JsonObject();
        while (true)
        {
            var bytes = Encoding.UTF8.GetBytes(json.ToJsonString());
            if (bytes.Length <= maxBytes) return bytes;
            json.Remove("leftOut");
            json.Remove("more");
            var (name, list) = Largest("answer", json);
            var removed = RemoveFromEnd(list, Bytes(json) - maxBytes);
            leftOut[name] = removed + (leftOut[name]?.GetValue<int>() ?? 0);
            json["leftOut"] = leftOut.DeepClone();
            json["more"] = more(json);
        }
    }

    // The list or map that makes the answer large: inside it no single entry takes more than half.
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

    // At least one, so that each turn makes the answer smaller.
    static int RemoveFromEnd(JsonNode list, int bytes)
    {
        var removed = 0;
        do
        {
            var (name, last) = Entries(list).Last();
            bytes -= Bytes(last) + 1;
            if (list is JsonArray array) array.RemoveAt(array.Count - 1);
            else list.AsObject().Remove(name!);
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
