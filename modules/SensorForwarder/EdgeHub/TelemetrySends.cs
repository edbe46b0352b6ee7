namespace SensorForwarder.EdgeHub;

/// <summary>Sends telemetry at QoS 1 and counts it. Makes one attempt per message: the caller decides about retries.
/// Thread-safe.</summary>
internal sealed class TelemetrySends(EdgeIdentity identity)
{
    long _sent;
    long _acknowledged;
    long _timedOut;
    long _bytes;

    /// <summary>Admits messages to the connection, in order.</summary>
    public SendGate Gate { get; } = new();

    public long Sent => Interlocked.Read(ref _sent);

    public long Acknowledged => Interlocked.Read(ref _acknowledged);

    public long TimedOut => Interlocked.Read(ref _timedOut);

    public long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>Sends one message. Throws only when <paramref name="cancellationToken"/> cancels the wait.</summary>
    public Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken)
    {
        var topic = HubTopics.Telemetry(identity, message.Properties);
        var bytes = PacketSize.OfPublish(topic, message.Body.Length);
        if (PacketSize.Objection(identity, message, topic, bytes) is { } objection)
            return Task.FromResult(new HubSendResult(HubSendStatus.Refused, objection));

        // Usually the gate admits the message at once; this path then needs only one asynchronous method.
        var entering = Gate.EnterAsync(bytes, cancellationToken);
        return entering.IsCompletedSuccessfully
            ? SendAsync(entering.Result, topic, message, cancellationToken)
            : SendLaterAsync(entering, topic, message, cancellationToken);
    }

    async Task<HubSendResult> SendLaterAsync(
        ValueTask<Flight?> entering, string topic, HubMessage message, CancellationToken cancellationToken) =>
        await SendAsync(await entering, topic, message, cancellationToken);

    Task<HubSendResult> SendAsync(
        Flight? flight, string topic, HubMessage message, CancellationToken cancellationToken) =>
        flight is null
            ? Task.FromResult(new HubSendResult(HubSendStatus.Retry, "not connected"))

            // The send continues when the caller is cancelled: a message that is partly sent can't be recalled.
            : DeliverAsync(flight, topic, message).WaitAsync(cancellationToken);

    /// <summary>Sends one message and waits for the acknowledgement. Never throws.</summary>
    async Task<HubSendResult> DeliverAsync(Flight flight, string topic, HubMessage message)
    {
        var session = flight.Session;
        var isAcknowledged = false;
        Interlocked.Increment(ref _sent);
        try
        {
            await HandOver(flight, topic, message).ConfigureAwait(false);
            isAcknowledged = true;
        }
        catch (Exception exception)
        {
            // Which exception MQTTnet throws for a lost connection depends on timing. This may be the first sign of it.
            session.Finish(new(NetworkText.Describe(exception), ByPeer: true));
        }

        session.Done(flight, isAcknowledged);
        if (isAcknowledged)
        {
            Interlocked.Increment(ref _acknowledged);
            Interlocked.Add(ref _bytes, flight.Bytes);
            return new(HubSendStatus.Accepted, "");
        }

        const string lost = "the connection was lost before the acknowledgement";
        if (!flight.Overdue) return new(HubSendStatus.Retry, lost);
        Interlocked.Increment(ref _timedOut);
        return new(HubSendStatus.Retry, session.End?.Reason ?? lost);
    }

    Task HandOver(Flight flight, string topic, HubMessage message)
    {
        try
        {
            return flight.Session.SendAsync(topic, message);
        }
        finally
        {
            // The position of the message is fixed, so the next may follow.
            if (flight.FromLine) Gate.Passed();
        }
    }
}
