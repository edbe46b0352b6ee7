using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Metrics;

namespace EdgeSimulator.Hub;

/// <summary>Takes telemetry messages: properties, the ledger, and the faults that concern them. One message at a time, in order.</summary>
internal sealed class TelemetryIntake(
    Upstream upstream, InputEndpoint inputs, FaultSwitches faults, HubMetrics metrics, TimeProvider time, RunLog log)
{
    /// <summary>Size of body and properties that edgeHub routes; above it, it acknowledges and drops (RoutingEdgeHub.ValidateMessageSize).</summary>
    const int MessageMaxBytes = 262_144;

    // Outputs that no route takes, each said once.
    readonly HashSet<string> _unrouted = new(StringComparer.Ordinal);

    /// <summary>edgeHub's store takes no message of this size: it closes the connection without a PUBACK.</summary>
    public bool IsStoreFull(int bytes) => faults.Current.StoreFull || !upstream.HasRoomFor(bytes);

    /// <summary>Counts a message before it is acknowledged. Null: it is acknowledged and forgotten.</summary>
    public async Task<Receipt?> TakeAsync(HubTopic.Telemetry topic, byte[] payload, CancellationToken cancellationToken)
    {
        if (!PropertyBag.TryParse(topic.Bag, out var properties, out var error))
        {
            log.Write($"acknowledged and dropped, as edgeHub does: {error}");
            return null;
        }

        var message = new RoutedMessage(topic, properties, payload);
        if (message.Size > MessageMaxBytes)
        {
            log.Write($"acknowledged and dropped, as edgeHub does: {message.Size} bytes of body and properties, {MessageMaxBytes} are routed");
            return null;
        }

        metrics.Received(topic, message.Output, message.Size);
        if (faults.TryTakeDropAcknowledged())
        {
            log.Write("acknowledged and dropped on command: readings in it are lost");
            return null;
        }

        var (route, paths) = upstream.Routes.Find(message);
        foreach (var path in paths)
        {
            inputs.Route(path, message);
        }

        if (route is null)
        {
            if (paths.Count == 0)
            {
                DropUnrouted(topic, message.Output);
            }

            return null;
        }

        var receipt = upstream.Store(message, route);
        if (faults.Current.PubackDelayMilliseconds is > 0 and var delay)
        {
            upstream.Ledger.Explain(Causes.LatePuback, receipt);
            await Task.Delay(TimeSpan.FromMilliseconds(delay), time, cancellationToken).ConfigureAwait(false);
        }

        return receipt;
    }

    /// <summary>The message may come again, for this reason.</summary>
    public void MayRepeat(Receipt? receipt, string cause) => upstream.Ledger.Explain(cause, receipt);

    /// <summary>What is to become of the PUBACK of a message that was taken.</summary>
    public PubackFate PubackFate(Receipt? receipt)
    {
        if (receipt is null)
        {
            return Hub.PubackFate.Send;
        }

        if (faults.TryTakeLostPuback())
        {
            upstream.Ledger.Explain(Causes.LostPuback, receipt);
            log.Write("a PUBACK is lost on command");
            return Hub.PubackFate.Lose;
        }

        if (faults.TryTakeSwappedPubacks())
        {
            upstream.Ledger.Explain(Causes.SwappedPubacks, receipt);
            log.Write("two PUBACKs are swapped on command");
            return Hub.PubackFate.SwapWithNext;
        }

        return Hub.PubackFate.Send;
    }

    void DropUnrouted(HubTopic.Telemetry topic, string output)
    {
        metrics.Dropped("no_route", topic, output);
        if (_unrouted.Add($"{topic.ModuleId}/{output}"))
        {
            log.Write($"acknowledged and dropped, as edgeHub does: no route takes output '{output}' of module '{topic.ModuleId}', " +
                "now and whenever it comes again; readings in it are lost");
        }
    }
}
