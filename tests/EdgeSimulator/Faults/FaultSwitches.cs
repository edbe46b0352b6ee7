namespace EdgeSimulator.Faults;

/// <summary>The faults in force. Thread-safe: read at every step by the servers, written by the schedule and the REST API.</summary>
internal sealed class FaultSwitches
{
    readonly Lock _lock = new();
    volatile FaultSettings _current = new();

    /// <summary>Called after a change, with what was and what is, in order.</summary>
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

    /// <summary>Takes one from a counted fault, if there is one left.</summary>
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
