using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>
/// The open windows of <c>aggregateSeconds</c>, by sensor, as readings that would be stored if the process ended now.
/// They are saved in the buffer's database, so that a kill or a power cut loses at most the last
/// <see cref="SaveEvery"/> of a window. Thread-safe.
/// </summary>
internal sealed class SavedWindows(TelemetryBuffer buffer, TimeProvider timeProvider, ILogger logger)
{
    /// <summary>How often an open window is saved after its first reading: each time costs a commit.</summary>
    public static readonly TimeSpan SaveEvery = TimeSpan.FromSeconds(30);

    const string Prefix = "window.";

    // For a restored window, whose sensor may have a long commit interval.
    static readonly TimeSpan StoredWithin = TimeSpan.FromMinutes(1);

    readonly Lock _gate = new();
    readonly HashSet<string> _restored = new(StringComparer.Ordinal);
    readonly Dictionary<string, Task<bool>> _storing = new(StringComparer.Ordinal); // by sensor; guarded by _gate
    bool _areOthersRestored; // used by RestoreOthers only

    /// <summary>Stores the window that the previous process left open, if there is one.</summary>
    /// <param name="next">The open window, which replaces it in the same transaction; null: none is open.</param>
    /// <returns>Completes with whether it was stored. Null: there was none, and <paramref name="next"/> is not saved.
    /// </returns>
    /// <exception cref="BufferUnavailableException">The buffer can't be read now.</exception>
    public Task<bool>? Restore(string sensor, Reading? next)
    {
        lock (_gate)
        {
            if (_restored.Contains(sensor)) return null;
            var saved = buffer.LoadDocument(NameOf(sensor));
            _restored.Add(sensor);
            return saved is { Length: > 0 } payload
                ? _storing[sensor] = StoreAsync(sensor, payload, Document(sensor, next))
                : null;
        }
    }

    /// <summary>The last enqueued reading with a <see cref="Document"/> of the sensor: completes when both are stored,
    /// or neither will be. Kept here, since a change of settings replaces the sensor's loop.</summary>
    public Task<bool> Storing(string sensor)
    {
        lock (_gate) return _storing.GetValueOrDefault(sensor) ?? Task.FromResult(true);
    }

    /// <inheritdoc cref="Storing"/>
    public void NoteStoring(string sensor, Task<bool> storing)
    {
        lock (_gate) _storing[sensor] = storing;
    }

    /// <summary>Stores the windows of sensors that were removed, or have no windows any more, since the previous
    /// process was killed. Does so once; not called concurrently.</summary>
    /// <param name="sensors">The sensors that have windows; they restore their own.</param>
    public void RestoreOthers(IReadOnlyCollection<string> sensors)
    {
        if (_areOthersRestored) return;
        try
        {
            foreach (var sensor in buffer.DocumentNames(Prefix).Select(name => name[Prefix.Length..]).Except(sensors))
                Restore(sensor, next: null);
            _areOthersRestored = true;
        }
        catch (BufferUnavailableException)
        {
            // Tried again when settings change, or at the next start.
        }
    }

    /// <summary>Saves a window with the next commit. Not called while a reading with a <see cref="Document"/> of the
    /// same sensor waits for its commit: the order of the two is not defined.</summary>
    public void Save(string sensor, Reading? window) => buffer.SaveDocumentsWithNextCommit(Document(sensor, window));

    /// <summary>The document that a window is saved in, for the transaction of the previous window's reading: a kill
    /// neither loses nor duplicates a window.</summary>
    /// <param name="window">Null: no window is open.</param>
    public static (string Name, ReadOnlyMemory<byte> Content) Document(string sensor, Reading? window) =>
        (NameOf(sensor), window is null ? [] : ReadingEncoder.Encode(window).ToArray());

    async Task<bool> StoreAsync(
        string sensor, ReadOnlyMemory<byte> payload, (string Name, ReadOnlyMemory<byte> Content) next)
    {
        try
        {
            // Its time is from the clock of an earlier run, so the buffer must not correct it with this clock.
            await buffer.EnqueueRequestAsync(
                [payload], timeProvider.GetUtcNow(), StoredWithin, next, CancellationToken.None);
            return true;
        }
        catch (Exception exception) when (exception is BufferRejectedException or BufferUnavailableException)
        {
            SensorsLog.WindowLost(logger, sensor, exception.Message);
            return false;
        }
    }

    static string NameOf(string sensor) => Prefix + sensor;
}
