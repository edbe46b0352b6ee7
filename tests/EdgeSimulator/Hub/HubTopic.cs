using System.Globalization;

namespace EdgeSimulator.Hub;

/// <summary>A parsed topic of a PUBLISH to edgeHub.</summary>
internal abstract record HubTopic
{
    const string TwinGetPrefix = "$iothub/twin/GET/";
    const string TwinPatchPrefix = "$iothub/twin/PATCH/properties/reported/";
    const string MethodResponsePrefix = "$iothub/methods/res/";

    HubTopic()
    {
    }

    public static HubTopic Parse(string topic)
    {
        if (topic.StartsWith("devices/", StringComparison.Ordinal))
        {
            // devices/D/modules/M/messages/events[/BAG[/]]
            var segments = topic.Split('/', 7);
            return segments.Length >= 6 && segments[2] == "modules" && segments[4] == "messages" && segments[5] == "events"
                ? new Telemetry(segments[1], segments[3], segments.Length == 7 ? segments[6] : "")
                : new Unknown();
        }

        if (topic.StartsWith(TwinGetPrefix, StringComparison.Ordinal))
        {
            return new TwinGet(RequestIdIn(topic[TwinGetPrefix.Length..]));
        }

        if (topic.StartsWith(TwinPatchPrefix, StringComparison.Ordinal))
        {
            return new TwinPatch(RequestIdIn(topic[TwinPatchPrefix.Length..]));
        }

        if (topic.StartsWith(MethodResponsePrefix, StringComparison.Ordinal))
        {
            var parts = topic[MethodResponsePrefix.Length..].Split('/', 2);

            // edgeHub replaces a status that is not a number with 400000
            // (DeviceMessageHandler.ProcessMethodResponseAsync).
            var status = int.TryParse(parts[0], NumberStyles.Integer, CultureInfo.InvariantCulture, out var number) ? number : 400000;
            return new MethodResponse(status, parts.Length == 2 ? RequestIdIn(parts[1]) : null);
        }

        return new Unknown();
    }

    /// <summary>The value of $rid in <c>?$rid=...&amp;...</c>, unchanged.</summary>
    static string? RequestIdIn(string query)
    {
        foreach (var pair in query.TrimStart('?').Split('&'))
        {
            if (pair.StartsWith("$rid=", StringComparison.OrdinalIgnoreCase) && pair.Length > 5)
            {
                return pair[5..];
            }
        }

        return null;
    }

    public sealed record Telemetry(string DeviceId, string ModuleId, string Bag) : HubTopic;

    public sealed record TwinGet(string? RequestId) : HubTopic;

    public sealed record TwinPatch(string? RequestId) : HubTopic;

    public sealed record MethodResponse(int Status, string? RequestId) : HubTopic;

    public sealed record Unknown : HubTopic;
}
