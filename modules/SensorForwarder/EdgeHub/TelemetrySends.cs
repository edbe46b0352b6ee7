using MQTTnet;
using MQTTnet.Protocol;

namespace SensorForwarder.EdgeHub;

/// <summary>Sends telemetry at QoS 1 and counts it. Thread-safe; knows no back-off: a send ends in one way or the other, and
/// whoever made it decides.</summary>
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

    /// <summary>Sends one message. Throws only when <paramref name="cancellationToken"/> gives up the waiting.</summary>
    public async Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken)
    {
        var topic = HubTopics.Telemetry(identity, message.Properties);
        var bytes = PacketSize.OfPublish(topic, message.Body.Length);
        if (PacketSize.Objection(identity, message, topic, bytes) is { } objection)
            return new(HubSendStatus.TooLarge, objection);
        if (await Gate.EnterAsync(bytes, cancellationToken) is not { } flight)
            return new(HubSendStatus.NotConnected, "not connected");

        // The send goes on when the caller has given up: a message that is half on its way can't be called back.
        return await DeliverAsync(flight, topic, message.Body).WaitAsync(cancellationToken);
    }

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
            return flight.Session.Client.PublishAsync(
                new MqttApplicationMessage
                {
                    Topic = topic,
                    Payload = new(body),
                    QualityOfServiceLevel = MqttQualityOfServiceLevel.AtLeastOnce,
                },
                flight.Session.Ended);
        }
        finally
        {
            // What MQTTnet does before its first wait fixes the place of the message: the next may pass.
            if (flight.FromLine) Gate.Passed();
        }
    }
}
