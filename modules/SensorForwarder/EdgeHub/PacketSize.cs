using System.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// The exact size of a message on the wire, and whether the hub accepts it. edgeHub closes the connection on a packet
/// of more than 262,144 bytes, fixed header included (DotNetty MqttDecoder.cs:219), so that such a message would be
/// retried for ever. It acknowledges and drops a message that is larger by its own count, which includes system
/// properties (RoutingEdgeHub.ValidateMessageSize), so that such a message would be lost. Stateless.
/// </summary>
internal static class PacketSize
{
    /// <summary>The largest packet, fixed header included.</summary>
    public const int Max = 262_144;

    // For the ten or so system properties that edgeHub adds: names, ids and times. 144 to 244 bytes were observed.
    const int GatewayReserve = 768;

    /// <summary>Bytes of a PUBLISH at QoS 1: fixed header, topic, packet id, body.</summary>
    public static int OfPublish(string topic, int bodyBytes)
    {
        var remaining = 2 + Encoding.UTF8.GetByteCount(topic) + 2 + bodyBytes;
        var lengthBytes = remaining switch { < 1 << 7 => 1, < 1 << 14 => 2, < 1 << 21 => 3, _ => 4 };
        return 1 + lengthBytes + remaining;
    }

    /// <summary>Why the hub would not accept the message; null: it accepts it.</summary>
    public static string? Objection(EdgeIdentity identity, HubMessage message, string topic, int packetBytes)
    {
        if (packetBytes > Max) return $"the message has {packetBytes} bytes, more than the hub accepts ({Max})";
        if (packetBytes - message.Body.Length > ushort.MaxValue) return "the properties do not fit into an MQTT topic";
        if (identity.GatewayHostName is null) return null;

        var counted = message.Body.Length + GatewayReserve + identity.DeviceId.Length
            + (identity.ModuleId?.Length ?? 0);
        foreach (var (key, value) in message.Properties) counted += key.Length + value.Length;
        return counted <= Max ? null : $"the message has {counted} bytes as edgeHub counts them, more than {Max}";
    }
}
