using System.Buffers;
using System.Text;
using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using MQTTnet;
using MQTTnet.Protocol;
using MQTTnet.Server;

namespace EdgeSimulator.Hub;

/// <summary>
/// What the module publishes: one message at a time, in order, whatever it is about, so that a slow twin request holds up the
/// telemetry behind it, as with edgeHub. Called by the receiving loop of MQTTnet's connection.
/// </summary>
internal sealed class PublishIntake(
    TelemetryIntake telemetry, TwinEndpoint twin, MethodEndpoint methods, Action<ModuleConnection> drop, RunLog log)
{
    /// <summary>The largest MQTT packet with its fixed header; beyond it edgeHub drops the connection.</summary>
    public const int PacketMaxBytes = 262_144;

    public async Task TakeAsync(ModuleConnection connection, InterceptingPublishEventArgs e)
    {
        var message = e.ApplicationMessage;
        var quality = message.QualityOfServiceLevel;
        var size = PacketSize(message);
        if (size > PacketMaxBytes)
        {
            log.Write($"connection dropped: a packet of {size} bytes, edgeHub takes {PacketMaxBytes}");
            drop(connection);
            e.CloseConnection = true;
            return;
        }

        var topic = HubTopic.Parse(message.Topic);
        if (topic is HubTopic.Telemetry && telemetry.IsStoreFull((int)message.Payload.Length))
        {
            log.Write("connection dropped: edgeHub's store is full");
            drop(connection);
            e.CloseConnection = true;
            return;
        }

        var receipt = await HandleAsync(connection, topic, message.Topic, message.Payload.ToArray(), e.CancellationToken)
            .ConfigureAwait(false);
        if (connection.EndCause is { } cause)
        {
            // It was read behind the cut: its PUBACK does not arrive any more, so it comes again.
            telemetry.MayRepeat(receipt, cause);
        }

        if (quality == MqttQualityOfServiceLevel.AtLeastOnce)
        {
            connection.Pubacks.Expect(telemetry.PubackFate(receipt), receipt is null ? null : receipt.Acknowledge);
        }
        else if (quality == MqttQualityOfServiceLevel.ExactlyOnce)
        {
            log.Write("connection dropped after a QoS 2 message: edgeHub stores it, forwards it, and closes");
            drop(connection);
        }
    }

    /// <summary>Does what the topic asks for. The receipt is that of a telemetry message that was counted.</summary>
    async Task<Receipt?> HandleAsync(
        ModuleConnection connection, HubTopic topic, string text, byte[] payload, CancellationToken cancellationToken)
    {
        switch (topic)
        {
            case HubTopic.Telemetry message:
                return await telemetry.TakeAsync(message, payload, cancellationToken).ConfigureAwait(false);
            case HubTopic.TwinGet { RequestId: { } requestId }:
                await twin.GetAsync(requestId, cancellationToken).ConfigureAwait(false);
                return null;
            case HubTopic.TwinPatch { RequestId: { } requestId }:
                await twin.PatchAsync(requestId, payload, cancellationToken).ConfigureAwait(false);
                return null;
            case HubTopic.TwinGet or HubTopic.TwinPatch:
                log.Write($"connection dropped: no $rid in '{text}'");
                drop(connection);
                return null;
            case HubTopic.MethodResponse response:
                methods.Complete(response.RequestId, response.Status, payload);
                return null;
            default:
                log.Write($"acknowledged and dropped, as edgeHub does: unknown topic '{text}'");
                return null;
        }
    }

    /// <summary>The size of a PUBLISH on the wire: fixed header, topic, packet id, payload.</summary>
    static long PacketSize(MqttApplicationMessage message)
    {
        var remaining = 2 + Encoding.UTF8.GetByteCount(message.Topic) + message.Payload.Length +
            (message.QualityOfServiceLevel > MqttQualityOfServiceLevel.AtMostOnce ? 2 : 0);
        var lengthBytes = remaining switch { < 128 => 1, < 16_384 => 2, < 2_097_152 => 3, _ => 4 };
        return 1 + lengthBytes + remaining;
    }
}
