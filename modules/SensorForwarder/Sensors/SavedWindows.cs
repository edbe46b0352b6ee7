using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;

namespace SensorForwarder.Sensors;

/// <summary>
/// The open windows of <c>aggregateSeconds</c>, by sensor, as readings that would be stored if the process ended now.
/// They are in the buffer's database, so that a kill or a power cut costs at most the last <see cref="SaveEvery"/> of
/// a window. Thread-safe.
/// </summary>
internal sealed class SavedWindows(TelemetryBuffer buffer, TimeProvider timeProvider, ILogger logger)
{
    /// <summary>How often an open window is saved, besides at its first reading: each time costs a commit.</summary>
    public static readonly TimeSpan SaveEvery = TimeSpan.FromSeconds(30);

    const string Prefix = "window.";

    // For a restored window, whose sensor may have a long commit interval.
    static readonly TimeSpan StoredWithin = TimeSpan.FromMinutes(1);

    readonly Lock _gate = new();
    readonly HashSet<string> _restored = new(StringComparer.Ordinal);
    bool _areOthersRestored; // used by RestoreOthers only

    /// <summary>Stores the window that the process before left open, if there is one.</summary>
    /// <exception cref="BufferUnavailableException">It can't be read now.</exception>
    public void Restore(string sensor)
    {
        lock (_gate)
        {
            if (_restored.Contains(sensor)) return;
            var saved = buffer.LoadDocument(NameOf(sensor));
            _restored.Add(sensor);
            if (saved is not { Length: > 0 } payload) return;
            _ = StoreAsync(sensor, payload);
            Save(sensor, []);
        }
    }

    /// <summary>Stores the windows of sensors that were removed, or have no windows any more, since the process before
    /// was killed. Does so once; not called concurrently.</summary>
    /// <param name="sensors">Those that have windows; they restore their own.</param>
    public void RestoreOthers(IReadOnlyCollection<string> sensors)
    {
        if (_areOthersRestored) return;
        try
        {
            foreach (var sensor in buffer.DocumentNames(Prefix).Select(name => name[Prefix.Length..]).Except(sensors))
                Restore(sensor);
            _areOthersRestored = true;
        }
        catch (BufferUnavailableException)
        {
            // Tried again when settings change, or at the next start.
        }
    }

    /// <summary>Saves a window with the next commit. Called after the reading of the window before was enqueued: a
    /// kill in between delivers that twice rather than not at all.</summary>
    /// <param name="payload">Empty: no window is open.</param>
    public void Save(string sensor, ReadOnlySpan<byte> payload) =>
        buffer.SaveDocumentsWithNextCommit((NameOf(sensor), payload.ToArray()));

    async Task StoreAsync(string sensor, ReadOnlyMemory<byte> payload)
    {
        try
        {
            // Its time is that of a clock before this start, so the buffer must not correct it with this clock.
            await buffer.EnqueueRequestAsync([payload], timeProvider.GetUtcNow(), StoredWithin, CancellationToken.None);
        }
        catch (Exception exception) when (exception is BufferRejectedException or BufferUnavailableException)
        {
            SensorsLog.WindowLost(logger, sensor, exception.Message);
        }
    }

    static string NameOf(string sensor) => Prefix + sensor;
}
