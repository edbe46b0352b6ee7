namespace SensorForwarder.Sensors;

/// <summary>Objects shared by the sensors of a bus, such as a connection: created for the first sensor, disposed with
/// the last. Thread-safe; the shared objects are used by the bus's thread only.</summary>
internal sealed class SharedByBus
{
    readonly Lock _gate = new();
    readonly Dictionary<string, (IDisposable Shared, int Users)> _byBus = new(StringComparer.Ordinal);

    /// <summary>Returns the shared object of a bus. Each call must be followed by one of <see
    /// cref="Release"/>.</summary>
    /// <param name="bus">The name of the bus.</param>
    /// <param name="make">Creates it for the first sensor.</param>
    public T Take<T>(string bus, Func<T> make)
        where T : IDisposable
    {
        lock (_gate)
        {
            var (shared, users) = _byBus.TryGetValue(bus, out var found) ? found : (make(), 0);
            _byBus[bus] = (shared, users + 1);
            return (T)shared;
        }
    }

    public void Release(string bus)
    {
        lock (_gate)
        {
            var (shared, users) = _byBus[bus];
            if (users > 1)
            {
                _byBus[bus] = (shared, users - 1);
                return;
            }

            _byBus.Remove(bus);
            shared.Dispose();
        }
    }
}
