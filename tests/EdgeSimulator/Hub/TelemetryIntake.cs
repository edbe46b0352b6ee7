using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;

namespace EdgeSimulator.Hub;

/// <summary>Takes telemetry messages: properties, the ledger, and the faults that concern them. One message at a time, in order.</summary>
internal sealed class TelemetryIntake(Ledger ledger, RecentMessages recent, FaultSwitches faults, TimeProvider time, RunLog log)
{
    /// <summary>Size of body and properties that edgeHub routes; above it, it acknowledges and drops (RoutingEdgeHub.ValidateMessageSize).</summary>
    const int MessageMaxBytes = 262_144;

    /// <summary>Counts a message before it is acknowledged. Null: it is acknowledged and forgotten.</summary>
    public async Task<Receipt?> TakeAsync(HubTopic.Telemetry topic, byte[] payload, CancellationToken cancellationToken)
    {
        if (!PropertyBag.TryParse(topic.Bag, out var properties, out var error))
        {
            log.Write($"acknowledged and dropped, as edgeHub does: {error}");
            return null;
        }

        var size = payload.Length + properties.Sum(property => property.Key.Length + (property.Value?.Length ?? 0));
        if (size > MessageMaxBytes)
        {
            log.Write($"acknowledged and dropped, as edgeHub does: {size} bytes of body and properties, {MessageMaxBytes} are routed");
            return null;
        }

        if (faults.TryTakeDropAcknowledged())
        {
            log.Write("acknowledged and dropped on command: readings in it are lost");
            return null;
        }

        var receipt = ledger.Record(payload, out var problem);
        recent.Add("mqtt", topic.DeviceId, topic.ModuleId, properties, payload);
        if (problem is not null)
        {
            log.Write($"a message that is no batch: {problem}");
        }

        if (faults.Current.PubackDelayMilliseconds is > 0 and var delay)
        {
            ledger.Explain(Causes.LatePuback, receipt);
            await Task.Delay(TimeSpan.FromMilliseconds(delay), time, cancellationToken).ConfigureAwait(false);
        }

        return receipt;
    }

    /// <summary>What is to become of the PUBACK of a message that was taken.</summary>
    public PubackFate PubackFate(Receipt? receipt)
    {
        if (receipt is null)
        {
            return Hub.PubackFate.Send;
        }

        if (faults.TryTakeLostPuback())
        {
            ledger.Explain(Causes.LostPuback, receipt);
            log.Write("a PUBACK is lost on command");
            return Hub.PubackFate.Lose;
        }

        if (faults.TryTakeSwappedPubacks())
        {
            ledger.Explain(Causes.SwappedPubacks, receipt);
            log.Write("two PUBACKs are swapped on command");
            return Hub.PubackFate.SwapWithNext;
        }

        return Hub.PubackFate.Send;
    }
}
