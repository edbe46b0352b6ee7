using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>Reads the buffer's content for charts, exports and replay: waiting, handed-over and still stored delivered
/// readings, but no dead letters. Thread-safe: calls are serialised by the reader's lock.</summary>
internal sealed class History(Reader reader, ReadingClock clock) : IDisposable
{
    /// <summary>Readings after an id, in order of ids.</summary>
    /// <param name="maxBytes">Limit of the summed payloads; the first is returned whatever its size.</param>
    public IReadOnlyList<BufferedReading> PeekAny(long afterId, int maxCount, int maxBytes) => reader.Read(() =>
    {
        var view = reader.View;
        var readings = new List<BufferedReading>();
        var bytes = 0L;
        foreach (var stored in reader.Any(afterId + 1))
        {
            if (readings.Count > 0 && bytes + stored.Payload.Length + TimeRepair.MaxAddedBytes > maxBytes)
                break;
            readings.Add(reader.Repair(stored) with { Epoch = view.Epochs.Of(stored.Id) });
            bytes += readings[^1].Payload.Length;
            if (readings.Count == maxCount)
                break;
        }
        return readings;
    });

    /// <summary>Like <see cref="PeekAny"/>, but only the readings of one sensor, with the times in their payloads:
    /// another program may have sent a reading long after it was measured.</summary>
    /// <param name="maxRows">Limit of the readings examined, of all sensors.</param>
    public SensorRows PeekSensor(string sensor, long afterId, int maxRows, int maxBytes) => reader.Read(() =>
    {
        var begin = System.Text.Encoding.UTF8.GetBytes(ReadingEncoder.BeginningOf(sensor));
        var readings = new List<BufferedReading>();
        var (looks, bytes) = (0, 0L);
        StoredReading? last = null;
        foreach (var stored in reader.Any(afterId + 1))
        {
            var isMatch = stored.Payload.Span.StartsWith(begin);
            bytes += isMatch ? stored.Payload.Length + TimeRepair.MaxAddedBytes : 0;
            if (readings.Count > 0 && bytes > maxBytes)
                break;
            last = stored;
            if (isMatch)
            {
                var reading = reader.Repair(stored);
                readings.Add(reading with
                {
                    RecordedAt = TimeRepair.TimeIn(reading.Payload.Span) ?? reading.RecordedAt,
                });
            }
            if (++looks == maxRows)
                break;
        }
        return new SensorRows(readings, looks, last is { } row ? reader.TimeOf(row) : null);
    });

    /// <summary>The ids of stored delivered readings after an id.</summary>
    /// <param name="maxRows">Limit of the readings examined.</param>
    /// <param name="isWanted">A filter on time and payload.</param>
    /// <returns>The ids, and the last id examined; null: the end was reached.</returns>
    public (IdSet Ids, long? LastId) FindDelivered(
        long afterId, int maxRows, Func<DateTimeOffset, ReadOnlyMemory<byte>, bool> isWanted) => reader.Read(() =>
    {
        var delivered = reader.View.State.Delivered;
        var (found, looks) = (new List<long>(), 0);
        foreach (var stored in reader.Any(afterId + 1))
        {
            if (delivered.Contains(stored.Id) && isWanted(reader.TimeOf(stored).RecordedAt, stored.Payload))
                found.Add(stored.Id);
            if (++looks == maxRows) return (IdSet.Of(found), stored.Id);
        }
        return (IdSet.Of(found), (long?)null);
    });

    /// <summary>The corrected time and the clock segment of the first reading after an id; null at the end.</summary>
    public ReadingTime? PeekTime(long afterId) => reader.Read(() =>
    {
        foreach (var stored in reader.Any(afterId + 1))
            return reader.TimeOf(stored);
        return (ReadingTime?)null;
    });

    /// <inheritdoc cref="ReadingClock.Stretches"/>
    public IReadOnlyDictionary<int, int> ClockStretches() => clock.Stretches();

    public void Dispose() => reader.Dispose();
}
