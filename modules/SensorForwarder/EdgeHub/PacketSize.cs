using System.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// What a message takes on the wire, to the byte, and whether the hub takes it. edgeHub closes the connection above
/// 262144 bytes with the fixed header (DotNetty MqttDecoder.cs:219), so that a message that is too large would come
/// back for ever; and it acknowledges and drops what its own count, system properties included, finds too large
/// (RoutingEdgeHub.ValidateMessageSize), so that it would be lost.
/// </summary>
internal static class PacketSize
{
    /// <summary>The largest packet, fixed header included.</summary>
    public const int Max = 262_144;

    // About ten system properties of edgeHub's own: names, ids and times. Between 144 and 244 bytes were observed.
    const int GatewayReserve = 768;

    /// <summary>Bytes of a PUBLISH at QoS 1: fixed header, topic, packet id, body.</summary>
    public static int OfPublish(string topic, int bodyBytes)
    {
        var remaining = 2 + Encoding.UTF8.GetByteCount(topic) + 2 + bodyBytes;
        var lengthBytes = remaining switch { < 1 << 7 => 1, < 1 << 14 => 2, < 1 << 21 => 3, _ => 4 };
        return 1 + lengthBytes + remaining;
    }

    /// <summary>Why the hub does not take the message; null when it does.</summary>
    public static string? Objection(EdgeIdentity identity, HubMessage message, string topic, int packetBytes)
    {
        if (packetBytes > Max) return $"{packetBytes} bytes are more than the hub's {Max}";
        if (packetBytes - message.Body.Length > ushort.MaxValue) return "the properties do not fit into an MQTT topic";
        if (identity.GatewayHostName is null) return null;

        var counted = message.Body.Length + GatewayReserve + identity.DeviceId.Length
            + (identity.ModuleId?.Length ?? 0);
        foreach (var (key, value) in message.Properties) counted += key.Length + value.Length;
        return counted <= Max ? null : $"{counted} bytes as edgeHub counts them are more than its {Max}";
    }
}
