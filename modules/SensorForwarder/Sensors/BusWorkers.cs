using System.Collections.Concurrent;

namespace SensorForwarder.Sensors;

/// <summary>The workers of all buses, by the name of the bus. Thread-safe.</summary>
internal sealed class BusWorkers(TimeProvider timeProvider)
{
    readonly ConcurrentDictionary<string, BusWorker> _workers = new(StringComparer.Ordinal);

    public BusWorker Of(string bus) => _workers.GetOrAdd(bus, name => new BusWorker(name, timeProvider));
}
