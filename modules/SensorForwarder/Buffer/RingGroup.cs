namespace SensorForwarder.Buffer;

/// <summary>A reading that is not committed yet.</summary>
/// <param name="RecordedAtMs">Unix milliseconds, uncorrected.</param>
/// <param name="Stored">Completed with the id of the reading; null when nobody waits for it.</param>
internal readonly record struct PendingReading(
    long RecordedAtMs, int Clock, byte[] Payload, TaskCompletionSource<long>? Stored);

/// <summary>Readings that are committed in one transaction. In the ring it is changed under the lock of
/// <see cref="Ring"/>; after <see cref="Ring.Take"/> only the writer uses it.</summary>
internal sealed class RingGroup(long startedAt)
{
    // Keeps the queue's array out of the large object heap.
    const int MaxReadings = Segments.MaxReadings;

    readonly Queue<PendingReading> _readings = new();

    /// <summary>When the first reading was added (a timestamp of the time provider).</summary>
    public long StartedAt { get; } = startedAt;

    /// <summary>Whether these are the readings of one request. Its sender waits, and sends them again if they are not
    /// stored, so a drop is not counted as a loss.</summary>
    public bool IsRequest { get; init; }

    /// <summary>Whether the readings are committed at once and sent before all others.</summary>
    public bool IsUrgent { get; init; }

    /// <summary>Documents to save in the transaction of the readings, in this order; null: none.</summary>
    public List<(string Name, ReadOnlyMemory<byte> Content)>? Documents { get; private set; }

    public IReadOnlyCollection<PendingReading> Readings => _readings;

    public int Count => _readings.Count;

    /// <summary>The summed payload bytes.</summary>
    public long Bytes { get; private set; }

    public bool HasRoom(int payloadBytes, int maxBytes) =>
        Count < MaxReadings && (Count == 0 || Bytes + payloadBytes <= maxBytes);

    public void AddDocument((string Name, ReadOnlyMemory<byte> Content) document) => (Documents ??= []).Add(document);

    public void Add(PendingReading reading)
    {
        _readings.Enqueue(reading);
        Bytes += reading.Payload.Length;
    }

    /// <summary>Removes the oldest reading and fails its task.</summary>
    public PendingReading DropOldest(Exception failure)
    {
        var oldest = _readings.Dequeue();
        Bytes -= oldest.Payload.Length;
        oldest.Stored?.TrySetException(failure);
        return oldest;
    }

    /// <summary>Completes all tasks: the readings are committed, with consecutive ids.</summary>
    public void Commit(long firstId)
    {
        var id = firstId;
        foreach (var reading in _readings)
        {
            reading.Stored?.TrySetResult(id);
            id++;
        }
    }

    /// <summary>Fails all tasks: the readings will not be stored.</summary>
    public void Fail(Exception failure)
    {
        foreach (var reading in _readings)
            reading.Stored?.TrySetException(failure);
    }
}
