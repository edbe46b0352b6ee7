using MQTTnet;
using MQTTnet.Protocol;

namespace SensorForwarder.EdgeHub;

/// <summary>A connection over MQTT 3.1.1, opened by <see cref="HubDialer"/>. Thread-safe.</summary>
internal sealed class MqttSession(IMqttClient client, HubTransport transport, TimeProvider timeProvider)
    : Session(transport, timeProvider)
{
    public IMqttClient Client => client;

    /// <summary>Twin requests over this connection.</summary>
    public TwinRequests TwinRequests { get; } = new(timeProvider);

    // No cancellation token, since MQTTnet would register on it several times per message: the end of the session
    // closes the client, which ends every send. The PUBACK of MQTT 3.1.1 has no reason code, so it can't be a refusal.
    public override Task SendAsync(string topic, HubMessage message) => client.PublishAsync(
        new MqttApplicationMessage
        {
            Topic = topic,
            Payload = new(message.Body),
            QualityOfServiceLevel = MqttQualityOfServiceLevel.AtLeastOnce,
        },
        CancellationToken.None);

    public override Task<HubAnswer> GetTwinAsync(CancellationToken cancellationToken) =>
        TwinRequests.AskAsync(this, HubTopics.TwinGet, ReadOnlyMemory<byte>.Empty, cancellationToken);

    public override Task<HubAnswer> PatchReportedAsync(
        ReadOnlyMemory<byte> patch, CancellationToken cancellationToken) =>
        TwinRequests.AskAsync(this, HubTopics.ReportedPatch, patch, cancellationToken);

    public override void Dispose() => client.Dispose();

    protected override Task DisconnectAsync() => client.IsConnected
        ? client.DisconnectAsync(new MqttClientDisconnectOptions(), Ended)
        : Task.CompletedTask;
}
