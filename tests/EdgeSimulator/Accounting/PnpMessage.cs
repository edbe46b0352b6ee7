using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Hub;

namespace EdgeSimulator.Accounting;

/// <summary>A message with one reading in Plug and Play format: the telemetry names are the keys of the body, and the
/// message id is <c>EPOCH:ID-ID</c>.</summary>
internal static class PnpMessage
{
    /// <summary>Converts the message to a batch of one reading for the ledger. Null if it is not in this
    /// format.</summary>
    public static byte[]? AsBatch(HubTopic.Telemetry from, IReadOnlyDictionary<string, string?> properties, byte[] body)
    {
        var name = properties.GetValueOrDefault("$.mid") ?? "";
        var colon = name.LastIndexOf(':');
        var ids = name[(colon + 1)..].Split('-');
        if (colon < 1 || ids.Length != 2 || ids[0] != ids[1] ||
            !long.TryParse(ids[0], NumberStyles.None, CultureInfo.InvariantCulture, out var id))
        {
            return null;
        }

        try
        {
            if (JsonNode.Parse(body) is not JsonObject data || data.ContainsKey("batch"))
            {
                return null;
            }

            if (properties.GetValueOrDefault("$.sub") == "buffer")
            {
                data["kind"] = "gap";
                data["gap"] = new JsonObject { ["firstId"] = data["firstId"]?.DeepClone(), ["lastId"] = data["lastId"]?.DeepClone() };
            }

            return JsonSerializer.SerializeToUtf8Bytes(new JsonObject
            {
                ["device"] = from.DeviceId,
                ["module"] = from.ModuleId,
                ["epoch"] = name[..colon],
                ["batch"] = new JsonArray(new JsonObject { ["id"] = id, ["data"] = data }),
            });
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
