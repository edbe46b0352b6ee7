using System.Buffers;
using System.Text;
using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using MQTTnet;
using MQTTnet.Protocol;
using MQTTnet.Server;

namespace EdgeSimulator.Hub;

/// <summary>
/// Processes the module's PUBLISH packets one at a time and in order, so that a slow twin request delays later
/// telemetry, as in edgeHub. Called by the receiving loop of MQTTnet's connection.
/// </summary>
internal sealed class PublishIntake(
    TelemetryIntake telemetry, TwinEndpoint twin, MethodEndpoint methods, Action<ModuleConnection> drop, RunLog log)
{
    /// <summary>Maximum size of an MQTT packet with its fixed header. edgeHub closes the connection on larger
    /// ones.</summary>
    public const int PacketMaxBytes = 262_144;

    public async Task TakeAsync(ModuleConnection connection, InterceptingPublishEventArgs e)
    {
        var message = e.ApplicationMessage;
        var quality = message.QualityOfServiceLevel;
        var size = PacketSize(message);
        if (size > PacketMaxBytes)
        {
            log.Write($"connection dropped: a packet of {size} bytes, more than edgeHub's limit of {PacketMaxBytes}");
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
            // The connection was reset meanwhile: the PUBACK does not arrive, and the module sends the message again.
            telemetry.MayRepeat(receipt, cause);
        }

        if (quality == MqttQualityOfServiceLevel.AtLeastOnce)
        {
            connection.Pubacks.Expect(telemetry.PubackFate(receipt), receipt is null ? null : receipt.Acknowledge);
        }
        else if (quality == MqttQualityOfServiceLevel.ExactlyOnce)
        {
            log.Write("connection dropped after a QoS 2 message, as edgeHub does: it forwards the message and closes");
            drop(connection);
        }
    }

    /// <summary>Processes the message by its topic. Returns the receipt of a telemetry message.</summary>
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
