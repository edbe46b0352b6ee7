using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>Decides which readings to store if only changes matter. Used by one loop.</summary>
internal sealed class Deadband(SensorSettings settings, TimeProvider timeProvider)
{
    readonly ByValue<Band>? _bands = settings.Get(CommonOptions.Deadband);
    readonly TimeSpan _maxSilence = TimeSpan.FromSeconds(settings.Get(CommonOptions.MaxSilence));
    Reading? _stored;
    long _storedAt;

    /// <summary>Whether the reading has changed; if so, later readings are compared with it.</summary>
    public bool IsNews(Reading reading)
    {
        if (_bands is null) return true;
        if (_stored is { } last && last.Quality == reading.Quality && last.Reason == reading.Reason
            && timeProvider.GetElapsedTime(_storedAt) < _maxSilence && !HasMoved(_bands, last, reading))
        {
            return false;
        }

        _stored = reading;
        _storedAt = timeProvider.GetTimestamp();
        return true;
    }

    // If none of the values has a band (the settings name a value that the device lacks), every reading is stored.
    static bool HasMoved(ByValue<Band> bands, Reading last, Reading reading)
    {
        var hasBand = false;
        foreach (var (name, value) in reading.Values)
        {
            if (bands.For(name) is not { } band) continue;
            hasBand = true;
            var before = last.Values.FirstOrDefault(old => old.Key == name);
            if (before.Key is null || band.IsLeft(before.Value, value)) return true;
        }

        return !hasBand;
    }
}
