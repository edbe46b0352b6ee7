namespace SensorForwarder.Sensors;

/// <summary>
/// Stops using a bus after two consecutive timeouts, each of which blocks for about a second, except for one probe
/// every <see cref="ProbeEvery"/>. Used by the bus's worker only.
/// </summary>
internal sealed class BusBreaker(TimeProvider timeProvider)
{
    public static readonly TimeSpan ProbeEvery = TimeSpan.FromSeconds(30);
    const int TimeoutsToOpen = 2;

    int _timeouts;
    long _probed;

    /// <summary>Whether the bus may be used now.</summary>
    public bool MayTry()
    {
        if (_timeouts < TimeoutsToOpen) return true;
        if (timeProvider.GetElapsedTime(_probed) < ProbeEvery) return false;
        _probed = timeProvider.GetTimestamp();
        return true;
    }

    /// <summary>Records the result of a use of the bus.</summary>
    public void Note(bool hasTimedOut)
    {
        _timeouts = hasTimedOut ? _timeouts + 1 : 0;
        if (hasTimedOut) _probed = timeProvider.GetTimestamp();
    }
}
