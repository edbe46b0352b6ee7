using System.Globalization;
using System.Runtime.CompilerServices;

namespace SensorForwarder.EdgeHub;

/// <summary>Builds and parses the topics of IoT Hub's MQTT dialect. Source: iothub-mqtt, MqttIotHubAdapter.cs.
/// Stateless.</summary>
internal static class HubTopics
{
    public const string TwinAnswers = "$iothub/twin/res/#";
    public const string DesiredPatches = "$iothub/twin/PATCH/properties/desired/#";
    public const string MethodCalls = "$iothub/methods/POST/#";

    const string InputsSegment = "/inputs/";
    const string TwinAnswerPrefix = "$iothub/twin/res/";
    const string DesiredPatchPrefix = "$iothub/twin/PATCH/properties/desired/";
    const string MethodCallPrefix = "$iothub/methods/POST/";
    const int UsualLength = 256;
    const string RequestIdPrefix = "?$rid=";

    /// <summary>The topic of one telemetry message, property bag included.</summary>
    public static string Telemetry(EdgeIdentity identity, IReadOnlyList<KeyValuePair<string, string>> properties)
    {
        // The ids are not escaped (MqttIotHubAdapter.cs:56). Names and values of properties are, a blank as %20:
        // edgeHub closes the connection on a '+' in a topic.
        var topic = new DefaultInterpolatedStringHandler(0, 0, null, stackalloc char[UsualLength]);
        topic.AppendLiteral("devices/");
        topic.AppendLiteral(identity.DeviceId);
        if (identity.ModuleId is { } moduleId)
        {
            topic.AppendLiteral("/modules/");
            topic.AppendLiteral(moduleId);
        }

        topic.AppendLiteral("/messages/events/");
        for (var i = 0; i < properties.Count; i++)
        {
            if (i > 0) topic.AppendLiteral("&");
            AppendEscaped(ref topic, properties[i].Key);
            topic.AppendLiteral("=");
            AppendEscaped(ref topic, properties[i].Value);
        }

        if (properties.Count > 0) topic.AppendLiteral("/");
        return topic.ToStringAndClear();
    }

    public static string TwinGet(string requestId) => $"$iothub/twin/GET/?$rid={requestId}";

    public static string ReportedPatch(string requestId) => $"$iothub/twin/PATCH/properties/reported/?$rid={requestId}";

    public static string MethodAnswer(int status, string requestId) =>
        $"$iothub/methods/res/{status}/?$rid={requestId}";

    /// <summary>Parses an answer to a twin request: <c>$iothub/twin/res/STATUS/?$rid=RID[&amp;$version=N]</c>.
    /// </summary>
    public static bool TryParseTwinAnswer(string topic, out int status, out string requestId)
    {
        (status, requestId) = (0, "");
        if (!topic.StartsWith(TwinAnswerPrefix, StringComparison.Ordinal)) return false;
        var rest = topic.AsSpan(TwinAnswerPrefix.Length);
        var slash = rest.IndexOf('/');
        if (slash <= 0
            || !int.TryParse(rest[..slash], NumberStyles.None, CultureInfo.InvariantCulture, out status)) return false;
        requestId = QueryValue(rest[(slash + 1)..], "$rid") ?? "";
        return requestId.Length > 0;
    }

    /// <summary>Parses a change of the desired properties; <paramref name="version"/> is null when the topic has none.
    /// </summary>
    public static bool TryParseDesiredPatch(string topic, out long? version)
    {
        version = null;
        if (!topic.StartsWith(DesiredPatchPrefix, StringComparison.Ordinal)) return false;
        if (long.TryParse(
            QueryValue(topic.AsSpan(DesiredPatchPrefix.Length), "$version"),
            NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            version = number;
        }

        return true;
    }

    /// <summary>Parses the call of a direct method: <c>$iothub/methods/POST/NAME/?$rid=RID</c>. The request id is
    /// opaque: as in Microsoft's SDK (MqttTransportHandler.cs:561), everything that follows.</summary>
    public static bool TryParseMethodCall(string topic, out string name, out string requestId)
    {
        (name, requestId) = ("", "");
        if (!topic.StartsWith(MethodCallPrefix, StringComparison.Ordinal)) return false;
        var rest = topic.AsSpan(MethodCallPrefix.Length);
        var slash = rest.IndexOf('/');
        if (slash <= 0
            || !rest[(slash + 1)..].StartsWith(RequestIdPrefix, StringComparison.OrdinalIgnoreCase)) return false;
        name = rest[..slash].ToString();
        requestId = rest[(slash + 1 + RequestIdPrefix.Length)..].ToString();
        return requestId.Length > 0;
    }

    /// <summary>The filter of messages to all inputs of the module. edgeHub delivers nothing to a filter for a single
    /// input. Null: a device has no inputs, and IoT Hub routes nothing to modules.</summary>
    public static string? Inputs(EdgeIdentity identity) =>
        identity is { ModuleId: { } moduleId, GatewayHostName: not null }
            ? $"devices/{identity.DeviceId}/modules/{moduleId}{InputsSegment}#"
            : null;

    /// <summary>Parses a message to an input: <c>devices/D/modules/M/inputs/IN[/BAG]</c>.</summary>
    public static bool TryParseInput(
        EdgeIdentity identity, string topic, out string input,
        out IReadOnlyList<KeyValuePair<string, string?>> properties)
    {
        (input, properties) = ("", []);
        if (Inputs(identity) is not { } filter
            || !topic.StartsWith(filter[..^1], StringComparison.Ordinal)) return false;
        var rest = topic[(filter.Length - 1)..];
        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        input = slash < 0 ? rest : rest[..slash];
        if (slash >= 0) properties = ParseBag(rest[(slash + 1)..].TrimEnd('/'));
        return input.Length > 0;
    }

    static List<KeyValuePair<string, string?>> ParseBag(string bag)
    {
        var properties = new List<KeyValuePair<string, string?>>();
        foreach (var pair in bag.Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = pair.IndexOf('=', StringComparison.Ordinal);
            properties.Add(equals < 0
                ? new(Uri.UnescapeDataString(pair), null)
                : new(Uri.UnescapeDataString(pair[..equals]), Uri.UnescapeDataString(pair[(equals + 1)..])));
        }

        return properties;
    }

    static void AppendEscaped(ref DefaultInterpolatedStringHandler topic, string text)
    {
        Span<char> escaped = stackalloc char[UsualLength];
        if (Uri.TryEscapeDataString(text, escaped, out var length)) topic.AppendFormatted(escaped[..length]);
        else topic.AppendLiteral(Uri.EscapeDataString(text));
    }

    static string? QueryValue(ReadOnlySpan<char> query, string key)
    {
        if (query.StartsWith("?")) query = query[1..];
        foreach (var range in query.Split('&'))
        {
            var pair = query[range];
            var equals = pair.IndexOf('=');
            if (equals > 0 && pair[..equals].SequenceEqual(key)) return pair[(equals + 1)..].ToString();
        }

        return null;
    }
}
