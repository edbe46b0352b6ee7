namespace SensorForwarder.Forwarding;

/// <summary>The part of the dispatcher that tells people what it does.</summary>
internal sealed partial class Dispatcher
{
    void Describe(ForwardingSettings? settings)
    {
        if (settings is null) return;
        if (_sink is { } sink) Status = _meter.Describe(Status, sink, settings);
        Status = Status with
        {
            Live = DescribeLane(
            Lane.Live, settings.DrainOrder),
            Backfill = DescribeLane(Lane.Backfill, settings.DrainOrder)
        };
    }

    LaneStatus DescribeLane(Lane lane, DrainOrder order)
    {
        var (waiting, after) = _lanes.Waiting(lane, order);
        var failed = _failed.Where(batch => batch.Lane == lane).Sum(batch => batch.Readings.Count);
        var underWay = _window.Where(flight => flight.Batch.Lane == lane);
        return new()
        {
            Waiting = waiting + failed,
            WaitingAfter = after,
            InFlightBatches = underWay.Count(),
            InFlightReadings = underWay.Sum(flight => flight.Batch.Readings.Count),
            LastAccepted = _lastAccepted[(int)lane],
        };
    }
}
