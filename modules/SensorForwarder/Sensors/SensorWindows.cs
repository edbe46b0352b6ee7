using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>The windows of one sensor with <c>aggregateSeconds</c>: the open one, its copy in the buffer's database,
/// and the one that the previous process left open. Used by one loop.</summary>
internal sealed class SensorWindows(
    SensorSettings settings, TimeSpan length, SavedWindows saved, TimeProvider timeProvider)
{
    readonly AggregateWindow _window = new(length, settings.Interval, timeProvider);
    bool _isRestored;
    long? _savedWindow; // the window in the database; null: none
    long _savedAt;
    Task<bool> _storing = saved.Storing(settings.Name); // of a window, with the copy of the next one

    /// <summary>Adds a reading.</summary>
    /// <returns>The reading of the window that ended before it; null: none did, or it had no values.</returns>
    public Reading? Add(Reading reading)
    {
        var closed = _window.Add(reading);
        if (!_isRestored) Restore();
        return closed;
    }

    /// <summary>Stores the reading of a window that <see cref="Add"/> or <see cref="End"/> returned. In the same
    /// transaction, the copy of the open window replaces the copy of this one.</summary>
    /// <param name="store">Stores reading and document; completes with whether they were stored.</param>
    public void Store(Func<(string Name, ReadOnlyMemory<byte> Content), Task<bool>> store)
    {
        var open = _window.SoFar;
        _storing = store(SavedWindows.Document(settings.Name, open));
        saved.NoteStoring(settings.Name, _storing);
        NoteSaved(open);
    }

    /// <summary>Saves the open window if that is due. Called after <see cref="Store"/>.</summary>
    public void Save()
    {
        // The window of the previous process must not be overwritten, nor one that is not stored yet.
        if (!_isRestored || !_storing.IsCompleted) return;
        if (!_storing.Result)
        {
            _savedWindow = null; // the buffer refused the reading, and the copy with it
            _storing = Task.FromResult(true);
        }

        var isCurrent = _savedWindow == _window.Opened;
        if (!_window.HasValues)
        {
            if (!isCurrent) Forget();
            return;
        }

        if (isCurrent && timeProvider.GetElapsedTime(_savedAt) < SavedWindows.SaveEvery) return;
        saved.Save(settings.Name, _window.SoFar);
        NoteSaved(_window.SoFar);
    }

    /// <summary>Ends the open window before its time. <see cref="Forget"/> follows when its reading was stored.
    /// </summary>
    public Reading? End() => _window.End();

    /// <summary>Deletes the saved window.</summary>
    public void Forget()
    {
        if (_savedWindow is not null) saved.Save(settings.Name, null);
        _savedWindow = null;
    }

    void Restore()
    {
        try
        {
            var open = _window.SoFar;
            if (saved.Restore(settings.Name, open) is { } storing)
            {
                _storing = storing;
                NoteSaved(open);
            }

            _isRestored = true;
        }
        catch (BufferUnavailableException)
        {
            // Tried again at the next turn.
        }
    }

    void NoteSaved(Reading? open)
    {
        _savedWindow = open is null ? null : _window.Opened;
        _savedAt = timeProvider.GetTimestamp();
    }
}
