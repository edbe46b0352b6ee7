namespace SensorForwarder.Buffer;

/// <summary>A bounded cache of recently written or read segments, decoded: new readings need not be read back, and a
/// segment that is read in several batches is decoded once. Thread-safe.</summary>
internal sealed class DecodedSegments
{
    const int MaxBytes = 1 << 20;

    readonly Lock _gate = new();
    readonly LinkedList<(long FirstId, StoredReading[] Readings, int Bytes)> _newestFirst = new();
    readonly Dictionary<long, LinkedListNode<(long FirstId, StoredReading[] Readings, int Bytes)>> _byId = [];
    int _bytes;

    /// <summary>Incremented by <see cref="Forget"/>: segments read before it must not be added after it.</summary>
    public int Generation { get; private set; }

    /// <returns>Null: not in the cache, or the segment was rewritten since.</returns>
    public StoredReading[]? Find(Segment segment)
    {
        lock (_gate)
        {
            return _byId.TryGetValue(segment.FirstId, out var node) && node.Value.Readings is [.., var last] readings
                && readings.Length == segment.Readings && last.Id == segment.LastId ? readings : null;
        }
    }

    /// <param name="generation">The <see cref="Generation"/> before the segment was read.</param>
    public void Add(long firstId, StoredReading[] readings, int generation)
    {
        var bytes = readings.Sum(reading => reading.Payload.Length + 64);
        lock (_gate)
        {
            if (generation != Generation || bytes > MaxBytes)
                return;
            Remove(firstId);
            _byId[firstId] = _newestFirst.AddFirst((firstId, readings, bytes));
            _bytes += bytes;
            while (_bytes > MaxBytes)
                Remove(_newestFirst.Last!.Value.FirstId);
        }
    }

    /// <summary>Removes the segments that begin in a range of ids, after they were rewritten or deleted.</summary>
    public void Forget(long firstId, long lastId)
    {
        lock (_gate)
        {
            Generation++;
            foreach (var id in _byId.Keys.Where(id => id >= firstId && id <= lastId).ToList())
                Remove(id);
        }
    }

    void Remove(long firstId)
    {
        if (!_byId.Remove(firstId, out var node))
            return;
        _newestFirst.Remove(node);
        _bytes -= node.Value.Bytes;
    }
}
