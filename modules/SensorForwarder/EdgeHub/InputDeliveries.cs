using Microsoft.Extensions.Logging;
using MQTTnet;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Passes messages for the module's inputs to the handler, one at a time and in order, and acknowledges those that the
/// handler accepted. edgeHub sends the next message only after the acknowledgement. If none arrives within 30 s,
/// edgeHub redelivers the message with the same packet id. It would assign a late acknowledgement to a later delivery,
/// so none is sent after that time. <see cref="Take"/> runs on MQTTnet's thread, everything else in one loop.
/// </summary>
// _waiting needs no disposal: it has no wait handle.
#pragma warning disable CA1001
internal sealed class InputDeliveries(Func<IEdgeHubHandler?> handler, TimeProvider timeProvider, ILogger logger)
#pragma warning restore CA1001
{
    // edgeHub has one message in flight; only other servers with its protocol may send more.
    const int WaitingMax = 16;

    /// <summary>How long after its arrival a message may still be acknowledged: edgeHub could take a later
    /// acknowledgement for one of the next message. Leaves 2 s for the acknowledgement to arrive.</summary>
    public static readonly TimeSpan AcknowledgeWithin = InputMessage.AcknowledgeWithin - TimeSpan.FromSeconds(2);

    readonly SemaphoreSlim _waiting = new(0);
    readonly Lock _gate = new();

    // Guarded by _gate. In order of arrival; the first may be with the handler.
    readonly List<Delivery> _deliveries = [];

    /// <summary>Queues a message; returns at once. If the queue is full, the message is not acknowledged.</summary>
    public void Take(Session session, MqttApplicationMessageReceivedEventArgs args, InputMessage message)
    {
        args.AutoAcknowledge = false;
        lock (_gate)
        {
            // The hub no longer waits for the earlier delivery with this packet id.
            foreach (var earlier in _deliveries)
                earlier.IsOutdated |= earlier.Session == session && earlier.PacketId == args.PacketIdentifier;
            var removed = _deliveries.RemoveAll(earlier => earlier is { IsOutdated: true, IsWithHandler: false });
            if (_deliveries.Count >= WaitingMax) return;
            _deliveries.Add(new(session, args, message, timeProvider.GetTimestamp()));
            if (removed == 0) _waiting.Release();
        }
    }

    /// <summary>Handles queued messages until the module stops. Never throws.</summary>
    public async Task RunAsync(CancellationToken stoppingToken)
    {
        while (true)
        {
            await _waiting.WaitAsync(stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (stoppingToken.IsCancellationRequested) return;
            Delivery delivery;
            lock (_gate)
            {
                delivery = _deliveries[0];
                delivery.IsWithHandler = true;
            }

            // A message of a lost connection is redelivered over the next one.
            var isTaken = !delivery.Session.Ended.IsCancellationRequested
                && await HandleAsync(delivery.Message, stoppingToken);
            bool isOutdated;
            lock (_gate)
            {
                _deliveries.RemoveAt(0);
                isOutdated = delivery.IsOutdated;
            }

            if (isTaken && !isOutdated && timeProvider.GetElapsedTime(delivery.ArrivedAt) < AcknowledgeWithin)
                await AcknowledgeAsync(delivery);
        }
    }

    async Task<bool> HandleAsync(InputMessage message, CancellationToken stoppingToken)
    {
        try
        {
            return handler() is { } called
                && await called.OnInputAsync(message, stoppingToken).WaitAsync(stoppingToken);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            return false;
        }
        catch (Exception exception)
        {
            EdgeHubLog.InputFailed(logger, LogText.Clean(message.Input), exception);
            return false;
        }
    }

    static async Task AcknowledgeAsync(Delivery delivery)
    {
        try
        {
            await delivery.Args.AcknowledgeAsync(delivery.Session.Ended);
        }
        catch (Exception)
        {
            // Which exception MQTTnet throws for a lost connection depends on timing. The message is redelivered.
        }
    }

    /// <summary>One PUBLISH. The two flags are guarded by the gate.</summary>
    sealed class Delivery(
        Session session, MqttApplicationMessageReceivedEventArgs args, InputMessage message, long arrivedAt)
    {
        public Session Session => session;

        public MqttApplicationMessageReceivedEventArgs Args => args;

        public ushort PacketId => args.PacketIdentifier;

        public InputMessage Message => message;

        public long ArrivedAt => arrivedAt;

        /// <summary>Whether the hub has used the packet id for a later delivery.</summary>
        public bool IsOutdated { get; set; }

        public bool IsWithHandler { get; set; }
    }
}
