using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>The windows of one sensor with <c>aggregateSeconds</c>: the open one, its copy in the buffer's database,
/// and the one that the process before left open. Used by one loop.</summary>
internal sealed class SensorWindows(
    SensorSettings settings, TimeSpan length, SavedWindows saved, TelemetryBuffer buffer, TimeProvider timeProvider,
    ILogger logger)
{
    // For a restored window, whose sensor may have a long commit interval.
    static readonly TimeSpan StoredWithin = TimeSpan.FromMinutes(1);

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
            if (saved.Take(settings.Name) is { } payload)
            {
                _ = StoreAsync(payload);
                saved.Save(settings.Name, []);
            }

            _isRestored = true;
        }
        catch (BufferUnavailableException)
        {
            // Tried again at the next turn.
        }
    }

    async Task StoreAsync(ReadOnlyMemory<byte> payload)
    {
        try
        {
            // Its time is that of a clock before this start, so the buffer must not correct it with this clock.
            await buffer.EnqueueRequestAsync([payload], timeProvider.GetUtcNow(), StoredWithin, CancellationToken.None);
        }
        catch (Exception exception) when (exception is BufferRejectedException or BufferUnavailableException)
        {
            SensorsLog.WindowLost(logger, settings.Name, exception.Message);
        }
    }
}
