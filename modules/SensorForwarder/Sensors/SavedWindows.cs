using SensorForwarder.Buffer;

namespace SensorForwarder.Sensors;

/// <summary>
/// The open windows of <c>aggregateSeconds</c>, by sensor, as readings that would be stored if the process ended now.
/// They are in the buffer's database, so that a kill or a power cut costs at most the last <see cref="SaveEvery"/> of
/// a window. Thread-safe.
/// </summary>
internal sealed class SavedWindows(TelemetryBuffer buffer)
{
    /// <summary>How often an open window is saved, besides at its first reading: each time costs a commit.</summary>
    public static readonly TimeSpan SaveEvery = TimeSpan.FromSeconds(30);

    readonly Lock _gate = new();
    readonly HashSet<string> _taken = new(StringComparer.Ordinal);

    /// <summary>Takes the window that the process before left open.</summary>
    /// <returns>The payload of its reading; null: there is none, or it was taken.</returns>
    /// <exception cref="BufferUnavailableException">It can't be read now.</exception>
    public ReadOnlyMemory<byte>? Take(string sensor)
    {
        lock (_gate)
        {
            if (_taken.Contains(sensor)) return null;
            var saved = buffer.LoadDocument(NameOf(sensor));
            _taken.Add(sensor);
            return saved is { Length: > 0 } ? saved : null;
        }
    }

    /// <summary>Saves a window with the next commit. Called after the reading of the window before was enqueued: a
    /// kill in between delivers that twice rather than not at all.</summary>
    /// <param name="payload">Empty: no window is open.</param>
    public void Save(string sensor, ReadOnlySpan<byte> payload) =>
        buffer.SaveDocumentsWithNextCommit((NameOf(sensor), payload.ToArray()));

    static string NameOf(string sensor) => $"window.{sensor}";
}
