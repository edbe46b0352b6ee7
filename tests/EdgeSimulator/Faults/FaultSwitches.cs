namespace EdgeSimulator.Faults;

/// <summary>Holds the faults in force. Read by all servers, set by the schedule and the REST API.
/// Thread-safe.</summary>
internal sealed class FaultSwitches
{
    readonly Lock _lock = new();
    volatile FaultSettings _current = new();

    /// <summary>Raised after each change, in order and under the lock, with the settings before and after.</summary>
    public event Action<FaultSettings, FaultSettings>? Changed;

    public FaultSettings Current => _current;

    public void Update(Func<FaultSettings, FaultSettings> change)
    {
        lock (_lock)
        {
            var before = _current;
            _current = change(before);
            if (before != _current)
            {
                Changed?.Invoke(before, _current);
            }
        }
    }

    /// <summary>Decrements the counter of a fault. Returns false if it is 0.</summary>
    bool TryTake(Func<FaultSettings, int> counter, Func<FaultSettings, int, FaultSettings> with)
    {
        if (counter(_current) <= 0)
        {
            return false;
        }

        lock (_lock)
        {
            var left = counter(_current);
            if (left <= 0)
            {
                return false;
            }

            _current = with(_current, left - 1);
            return true;
        }
    }

    public bool TryTakeLostPuback() => TryTake(f => f.LosePubacks, (f, left) => f with { LosePubacks = left });

    public bool TryTakeDropAcknowledged() => TryTake(f => f.DropAcknowledged, (f, left) => f with { DropAcknowledged = left });

    public bool TryTakeLostQueued() => TryTake(f => f.LoseQueued, (f, left) => f with { LoseQueued = left });

    public bool TryTakeSwappedPubacks() => TryTake(f => f.SwapPubacks, (f, left) => f with { SwapPubacks = left });
}
