using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>The results of a <see cref="FleetSimulation"/>.</summary>
internal sealed class FleetFigures
{
    // Ages at arrival of readings of liveFirst devices.
    readonly List<TimeSpan> _liveAges = [];
    List<TimeSpan> _drains = [];

    /// <summary>The most requests within one <see cref="FleetSimulation.LoadWindow"/> after the outage.</summary>
    public int OfferedMost { get; private set; }

    public long Refused { get; set; }

    /// <summary>Readings that arrived more than once.</summary>
    public long Repeated { get; private set; }

    /// <summary>Readings that never arrived.</summary>
    public long Lost { get; private set; }

    /// <summary>Devices whose backlog has not arrived.</summary>
    public int Undrained { get; private set; }

    /// <summary>The least number of requests that the backlog needs.</summary>
    public long BacklogRequests { get; private set; }

    /// <summary>Requests per second without a backlog.</summary>
    public double NewRequests { get; private set; }

    public long Chunks { get; private set; }

    public double Capacity { get; private set; }

    public double PeakLoad => OfferedMost / FleetSimulation.LoadWindow.TotalSeconds / Capacity;

    public TimeSpan IdealDrain => TimeSpan.FromSeconds(BacklogRequests / (Capacity - NewRequests));

    public TimeSpan MedianDrain => _drains[_drains.Count / 2];

    public TimeSpan LastDrain => _drains[^1];

    /// <summary>The time within which 90 % of the devices drain.</summary>
    public TimeSpan MostDrain => _drains[_drains.Count * 9 / 10];

    /// <summary>The 99th percentile of the age at arrival.</summary>
    public TimeSpan MostLiveAge => _liveAges[_liveAges.Count * 99 / 100];

    public TimeSpan OldestLiveAge => _liveAges[^1];

    public void Offer(int inWindow) => OfferedMost = Math.Max(OfferedMost, inWindow);

    public void Arrive(FleetDevice device, Batch batch, long anew, TimeSpan now)
    {
        Repeated += batch.Readings.Count - anew;
        if (device.Order != DrainOrder.LiveFirst || now < FleetSimulation.FreshAfter || anew == 0) return;
        foreach (var reading in batch.Readings)
        {
            var recordedAt = reading.RecordedAt - FleetSimulation.At(TimeSpan.Zero);
            if (recordedAt >= FleetSimulation.FreshAfter && recordedAt < FleetSimulation.FreshUntil)
                _liveAges.Add(now - recordedAt);
        }
    }

    public void Close(FleetSimulation fleet, IReadOnlyList<FleetDevice> devices, double newRequests, long chunks)
    {
        (Capacity, NewRequests, Chunks) = (fleet.Capacity, newRequests, chunks);
        _liveAges.Sort();
        Lost = devices.Sum(device => FleetSimulation.LastIdAt(device, fleet.Now) - device.Arrived.Count);
        Undrained = devices.Count(device => device.DrainedAt is null);
        BacklogRequests = devices.Sum(device => (device.Backlog.Count + 199) / 200);
        _drains = [.. devices.Where(device => device.DrainedAt is not null)
            .Select(device => device.DrainedAt!.Value - FleetSimulation.OutageEnds).Order()];
    }
}
