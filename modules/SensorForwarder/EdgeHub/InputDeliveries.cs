using Microsoft.Extensions.Logging;
using MQTTnet;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Passes messages to the module's inputs to the handler, one at a time and in order, and acknowledges those that it
/// has taken. edgeHub sends the next message only after the acknowledgement, and the same one again, with the same
/// packet id, when none has arrived within 30 s. A late acknowledgement could be taken for one of the message that
/// edgeHub has sent since, so none is sent after that. Take: MQTTnet's thread; everything else: one loop.
/// </summary>
// _waiting needs no disposal: it has no wait handle.
#pragma warning disable CA1001
internal sealed class InputDeliveries(Func<IEdgeHubHandler?> handler, TimeProvider timeProvider, ILogger logger)
#pragma warning restore CA1001
{
    // edgeHub has one message in flight. More come only from something else that speaks its dialect.
    const int WaitingMax = 16;

    // Leaves 2 s for the way of the acknowledgement.
    static readonly TimeSpan AcknowledgeWithin = InputMessage.AcknowledgeWithin - TimeSpan.FromSeconds(2);

    readonly SemaphoreSlim _waiting = new(0);
    readonly Lock _gate = new();

    // Guarded by _gate. In order of arrival; the first one may be with the handler.
    readonly List<Delivery> _deliveries = [];

    /// <summary>Queues a message; returns at once. A message for which there is no room is not acknowledged.</summary>
    public void Take(Session session, MqttApplicationMessageReceivedEventArgs args, InputMessage message)
    {
        args.AutoAcknowledge = false;
        lock (_gate)
        {
            // The hub has given up on the earlier delivery with this packet id.
            foreach (var earlier in _deliveries)
                earlier.IsOutdated |= earlier.Session == session && earlier.PacketId == args.PacketIdentifier;
            var removed = _deliveries.RemoveAll(earlier => earlier is { IsOutdated: true, IsWithHandler: false });
            if (_deliveries.Count >= WaitingMax) return;
            _deliveries.Add(new(session, args, message, timeProvider.GetTimestamp()));
            if (removed == 0) _waiting.Release();
        }
    }

    /// <summary>Works until the module stops. Never throws.</summary>
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

            // What came over a connection that is lost comes again over the next one.
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
            // Which exception MQTTnet throws for a lost connection depends on timing. The message comes again.
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

        /// <summary>Whether the hub has delivered something else under its packet id since.</summary>
        public bool IsOutdated { get; set; }

        public bool IsWithHandler { get; set; }
    }
}
