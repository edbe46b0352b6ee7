namespace SensorForwarder.Buffer;

/// <summary>A bounded cache of recently written or read segments, decoded: new readings need not be read back, and a
/// segment that is read in several batches is decoded once. Thread-safe.</summary>
internal sealed class DecodedSegments
{
    const int MaxBytes = 512 << 10;

    readonly Lock _gate = new();
    readonly OrderedDictionary<long, (StoredReading[] Readings, int Bytes)> _oldestFirst = [];
    int _bytes;

    /// <summary>Incremented by <see cref="Forget"/>: segments read before it must not be added after it.</summary>
    public int Generation { get; private set; }

    /// <returns>Null: not in the cache, or the segment was rewritten since.</returns>
    public StoredReading[]? Find(Segment segment)
    {
        lock (_gate)
        {
            return _oldestFirst.TryGetValue(segment.FirstId, out var known) && known.Readings is [.., var last] readings
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
            _oldestFirst.Add(firstId, (readings, bytes));
            _bytes += bytes;
            while (_bytes > MaxBytes)
                Remove(_oldestFirst.GetAt(0).Key);
        }
    }

    /// <summary>Removes the segments that begin in a range of ids, after they were rewritten or deleted.</summary>
    public void Forget(long firstId, long lastId)
    {
        lock (_gate)
        {
            Generation++;
            foreach (var id in _oldestFirst.Keys.Where(id => id >= firstId && id <= lastId).ToList())
                Remove(id);
        }
    }

    void Remove(long firstId)
    {
        if (_oldestFirst.Remove(firstId, out var segment))
            _bytes -= segment.Bytes;
    }
}
