using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using EdgeSimulator.Accounting;

namespace EdgeSimulator.Api;

/// <summary>The JSON of a message in GET /messages.</summary>
internal static class MessageJson
{
    public static JsonNode Of(TelemetryMessage message)
    {
        var properties = new JsonObject();
        foreach (var (name, value) in message.Properties)
        {
            properties[name] = value;
        }

        return new JsonObject
        {
            ["number"] = message.Number,
            ["arrived"] = message.Arrived.UtcDateTime.ToString("o"),
            ["road"] = message.Road,
            ["deviceId"] = message.Device,
            ["moduleId"] = message.Module,
            ["properties"] = properties,
            ["bytes"] = message.Body.Length,
            ["body"] = Body(message.Body),
        };
    }

    /// <summary>The body as JSON, or as text if it is not JSON.</summary>
    static JsonNode? Body(byte[] body)
    {
        try
        {
            return JsonNode.Parse(body);
        }
        catch (JsonException)
        {
            return Encoding.UTF8.GetString(body);
        }
    }
}
