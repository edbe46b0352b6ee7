using MQTTnet;
using MQTTnet.Protocol;

namespace SensorForwarder.EdgeHub;

/// <summary>Sends telemetry at QoS 1 and counts it. Thread-safe; knows no back-off: a send ends in one way or the
/// other, and whoever made it decides.</summary>
internal sealed class TelemetrySends(EdgeIdentity identity)
{
    long _sent;
    long _acknowledged;
    long _timedOut;
    long _bytes;

    /// <summary>Where messages get onto the connection.</summary>
    public SendGate Gate { get; } = new();

    public long Sent => Interlocked.Read(ref _sent);

    public long Acknowledged => Interlocked.Read(ref _acknowledged);

    public long TimedOut => Interlocked.Read(ref _timedOut);

    public long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>Sends one message. Throws only when <paramref name="cancellationToken"/>
    /// gives up the waiting.</summary>
    public Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken)
    {
        var topic = HubTopics.Telemetry(identity, message.Properties);
        var bytes = PacketSize.OfPublish(topic, message.Body.Length);
        if (PacketSize.Objection(identity, message, topic, bytes) is { } objection)
            return Task.FromResult(new HubSendResult(HubSendStatus.TooLarge, objection));

        // As a rule there is a place at once, and no more than one asynchronous method is needed.
        var entering = Gate.EnterAsync(bytes, cancellationToken);
        return entering.IsCompletedSuccessfully
            ? SendAsync(entering.Result, topic, message.Body, cancellationToken)
            : SendLaterAsync(entering, topic, message.Body, cancellationToken);
    }

    async Task<HubSendResult> SendLaterAsync(
        ValueTask<Flight?> entering, string topic, ReadOnlyMemory<byte> body, CancellationToken cancellationToken) =>
        await SendAsync(await entering, topic, body, cancellationToken);

    Task<HubSendResult> SendAsync(
        Flight? flight, string topic, ReadOnlyMemory<byte> body, CancellationToken cancellationToken) =>
        flight is null
            ? Task.FromResult(new HubSendResult(HubSendStatus.NotConnected, "not connected"))

            // The send goes on when the caller has given up: a message that is half on its way can't be called back.
            : DeliverAsync(flight, topic, body).WaitAsync(cancellationToken);

    /// <summary>Hands one message over and waits for its acknowledgement. Never throws.</summary>
    async Task<HubSendResult> DeliverAsync(Flight flight, string topic, ReadOnlyMemory<byte> body)
    {
        var session = flight.Session;
        var acknowledged = false;
        var reason = "the connection was lost before the acknowledgement";
        Interlocked.Increment(ref _sent);
        try
        {
            var result = await HandOver(flight, topic, body).ConfigureAwait(false);
            acknowledged = result.IsSuccess;
            if (!acknowledged) reason = $"refused: {result.ReasonCode}";
        }
        catch (Exception exception)
        {
            // What MQTTnet throws for a connection that is gone depends on the moment; this can be the first to see it.
            session.Finish(new(NetworkText.Describe(exception), ByPeer: true));
        }

        session.Done(flight, acknowledged);
        if (acknowledged)
        {
            Interlocked.Increment(ref _acknowledged);
            Interlocked.Add(ref _bytes, flight.Bytes);
            return new(HubSendStatus.Accepted, "");
        }

        if (!flight.Overdue) return new(HubSendStatus.NotConnected, reason);
        Interlocked.Increment(ref _timedOut);
        return new(HubSendStatus.TimedOut, session.End?.Reason ?? reason);
    }

    Task<MqttClientPublishResult> HandOver(Flight flight, string topic, ReadOnlyMemory<byte> body)
    {
        try
        {
            // Without a token, which MQTTnet would register several times a message: the session's end closes its
            // client, and that ends every send.
            return flight.Session.Client.PublishAsync(
                new MqttApplicationMessage
                {
                    Topic = topic,
                    Payload = new(body),
                    QualityOfServiceLevel = MqttQualityOfServiceLevel.AtLeastOnce,
                },
                CancellationToken.None);
        }
        finally
        {
            // What MQTTnet does before its first wait fixes the place of the message: the next may pass.
            if (flight.FromLine) Gate.Passed();
        }
    }
}
