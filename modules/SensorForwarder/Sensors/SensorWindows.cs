using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>The windows of one sensor with <c>aggregateSeconds</c>: the open one, its copy in the buffer's database,
/// and the one that the process before left open. Used by one loop.</summary>
internal sealed class SensorWindows(
    SensorSettings settings, TimeSpan length, SavedWindows saved, TimeProvider timeProvider)
{
    readonly AggregateWindow _window = new(length, settings.Interval, timeProvider);
    bool _isRestored;
    long? _savedWindow; // the window in the database; null: none
    long _savedAt;

    /// <summary>Adds a reading.</summary>
    /// <returns>The reading of the window that ended before it; null: none did, or it had no values.</returns>
    public Reading? Add(Reading reading)
    {
        if (!_isRestored) Restore();
        return _window.Add(reading);
    }

    /// <summary>Saves the open window if that is due. Called after the reading of the window before was enqueued.
    /// </summary>
    public void Save()
    {
        if (!_isRestored) return; // the window of the process before must not be overwritten
        var isCurrent = _savedWindow == _window.Opened;
        if (!_window.HasValues)
        {
            if (!isCurrent) Forget();
            return;
        }

        if (isCurrent && timeProvider.GetElapsedTime(_savedAt) < SavedWindows.SaveEvery) return;
        saved.Save(settings.Name, ReadingEncoder.Encode(_window.SoFar!));
        (_savedWindow, _savedAt) = (_window.Opened, timeProvider.GetTimestamp());
    }

    /// <summary>Ends the open window before its time. <see cref="Forget"/> follows when its reading was enqueued.
    /// </summary>
    public Reading? End() => _window.End();

    /// <summary>Deletes the saved window, since its reading was enqueued.</summary>
    public void Forget()
    {
        if (_savedWindow is not null) saved.Save(settings.Name, []);
        _savedWindow = null;
    }

    void Restore()
    {
        try
        {
            saved.Restore(settings.Name);
            _isRestored = true;
        }
        catch (BufferUnavailableException)
        {
            // Tried again at the next turn.
        }
    }
}
