using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Metrics;

namespace EdgeSimulator.Hub;

/// <summary>Processes telemetry messages: parses properties, routes, records them in the ledger, and applies faults.
/// Called by <see cref="PublishIntake"/>, one message at a time.</summary>
internal sealed class TelemetryIntake(
    Upstream upstream, InputEndpoint inputs, FaultSwitches faults, HubMetrics metrics, TimeProvider time, RunLog log)
{
    /// <summary>Maximum size of body and properties. edgeHub acknowledges and drops larger messages
    /// (RoutingEdgeHub.ValidateMessageSize).</summary>
    const int MessageMaxBytes = 262_144;

    // Outputs without a route, each logged once.
    readonly HashSet<string> _unrouted = new(StringComparer.Ordinal);

    /// <summary>Whether edgeHub's store has no room for a message of this size. edgeHub then closes the connection
    /// without a PUBACK.</summary>
    public bool IsStoreFull(int bytes) => faults.Current.StoreFull || !upstream.HasRoomFor(bytes);

    /// <summary>Processes a message before it is acknowledged. Null: it has no readings to account for, or is
    /// dropped.</summary>
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
            log.Write("acknowledged and dropped, as edgeHub does: " +
                $"{message.Size} bytes of body and properties, the limit is {MessageMaxBytes}");
            return null;
        }

        metrics.Received(topic, message.Output, message.Size);
        var isRouted = faults.Current.NoRoute is var unrouted && (unrouted.Length == 0 || (unrouted != "*" && unrouted != message.Output));
        var (route, paths) = isRouted ? upstream.Routes.Find(message) : (null, []);
        foreach (var path in paths)
        {
            inputs.Route(path, message);
        }

        if (route is null && paths.Count > 0)
        {
            return null;
        }

        if (route is null && _unrouted.Add($"{topic.ModuleId}/{message.Output}"))
        {
            log.Write($"acknowledged and dropped, as edgeHub does: no route takes output '{message.Output}' of module '{topic.ModuleId}'; " +
                "its readings and later ones are lost until a route is added");
        }

        var receipt = upstream.Store(message, route);
        if (faults.Current.PubackDelayMilliseconds is > 0 and var delay)
        {
            upstream.Ledger.Explain(Causes.LatePuback, receipt);
            await Task.Delay(TimeSpan.FromMilliseconds(delay), time, cancellationToken).ConfigureAwait(false);
        }

        return receipt;
    }

    /// <summary>Processes a message of another module before it is acknowledged: enqueues it for the inputs that its
    /// routes name. Its routes to the cloud are ignored.</summary>
    public async Task TakeFromOtherAsync(HubTopic.Telemetry topic, byte[] payload, CancellationToken cancellationToken)
    {
        if (!PropertyBag.TryParse(topic.Bag, out var properties, out var error))
        {
            log.Write($"acknowledged and dropped, as edgeHub does: {error}");
            return;
        }

        var message = new RoutedMessage(topic, properties, payload);
        var (_, paths) = upstream.Routes.Find(message);
        if (!await inputs.RouteAsync(paths, message, cancellationToken).ConfigureAwait(false) && _unrouted.Add($"{topic.ModuleId}/{message.Output}"))
        {
            log.Write($"acknowledged and dropped: no route from output '{message.Output}' of module '{topic.ModuleId}' to an input of the module");
        }
    }

    /// <summary>Lets the cause explain duplicates of this message.</summary>
    public void MayRepeat(Receipt? receipt, string cause) => upstream.Ledger.Explain(cause, receipt);

    /// <summary>What to do with the PUBACK of an accepted message.</summary>
    public PubackFate PubackFate(Receipt? receipt)
    {
        if (receipt is null)
        {
            return Hub.PubackFate.Send;
        }

        if (faults.TryTakeLostPuback())
        {
            upstream.Ledger.Explain(Causes.LostPuback, receipt);
            log.Write("PUBACK not sent (fault losePubacks)");
            return Hub.PubackFate.Lose;
        }

        if (faults.TryTakeSwappedPubacks())
        {
            upstream.Ledger.Explain(Causes.SwappedPubacks, receipt);
            log.Write("two PUBACKs swapped (fault swapPubacks)");
            return Hub.PubackFate.SwapWithNext;
        }

        return Hub.PubackFate.Send;
    }
}
