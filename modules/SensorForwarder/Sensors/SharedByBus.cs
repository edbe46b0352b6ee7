namespace SensorForwarder.Sensors;

/// <summary>What the sensors of one bus have together, such as a connection: made for the first of them, disposed with
/// the last. Thread-safe; what is shared is used by the bus's thread only.</summary>
internal sealed class SharedByBus
{
    readonly Lock _gate = new();
    readonly Dictionary<string, (IDisposable Shared, int Users)> _byBus = new(StringComparer.Ordinal);

    /// <summary>Gives what the sensors of a bus share; <see cref="Release"/> follows.</summary>
    /// <param name="bus">The name of the bus.</param>
    /// <param name="make">Makes it, for the first.</param>
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
