using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>The limits that close a batch.</summary>
/// <param name="Settings">Number of readings and age.</param>
/// <param name="MaxBytes">The largest body as sent, in bytes.</param>
/// <param name="FlushThrough">Readings up to this id do not wait for a full batch.</param>
/// <param name="Most">The most readings in a batch that is due, for a probe.</param>
/// <param name="IsPacked">Whether a batch fills whole billed chunks if the other readings can wait.</param>
internal readonly record struct Closing(
    ForwardingSettings Settings, int MaxBytes, long FlushThrough, int Most = int.MaxValue, bool IsPacked = false)
{
    /// <summary>Bytes of payload to read for one batch.</summary>
    public int PeekBytes => Settings.IsGzip ? BatchEncoder.PlainBytes(MaxBytes) : MaxBytes;
}

/// <summary>The result of cutting a batch.</summary>
/// <param name="Batch">The batch; null: none is due, or the first readings no longer wait.</param>
/// <param name="Taken">The ids in the batch, or ids whose readings no longer wait.</param>
/// <param name="Due">Time until a batch is due even without new readings; null: try again now.</param>
internal readonly record struct Cut(Batch? Batch, IdSet Taken, TimeSpan? Due);

/// <summary>Cuts batches from the waiting readings when they are full or old enough. Used by the forwarder's loop only.
/// </summary>
internal sealed class BatchCutter(TelemetryBuffer buffer, BatchEncoder encoder, TimeProvider timeProvider)
{
    // The oldest reading of a batch that can still grow, without its payload.
    BufferedReading _pending;
    long _pendingSince;
    int _largestPayload = 1;

    /// <summary>Makes a batch of the oldest readings of a set, up to the limits and the first id that is missing in it.
    /// </summary>
    /// <param name="ids">At least one.</param>
    /// <param name="canGrow">Whether new readings can join, so that the batch waits until it is full or old enough.
    /// </param>
    public Cut Next(IdSet ids, Lane lane, bool canGrow, in Closing closing)
    {
        // Reading from the database is expensive, so it is done only when a batch may be due.
        var settings = closing.Settings;
        var mayWait = canGrow && ids.First > closing.FlushThrough;
        var mayBeFull = ids.Count >= settings.BatchSize || ids.Count * _largestPayload >= closing.PeekBytes;
        if (mayWait && !mayBeFull && settings.UploadInterval > TimeSpan.Zero)
        {
            var oldest = _pending.Id == ids.First ? [_pending] : buffer.PeekBatch(ids.First - 1, 1, 1);
            if (!IsFirst(oldest, ids, out var gone)) return gone;
            if (UntilDue(oldest[0], settings.UploadInterval) is var left && left > TimeSpan.Zero)
                return new(null, IdSet.Empty, left);
        }

        var most = canGrow ? settings.BatchSize : Math.Min(settings.BatchSize, closing.Most);
        if (lane == Lane.Alarm) most = (int)Math.Min(most, ids.FirstMissingFrom(ids.First) - ids.First);
        var readings = buffer.PeekBatch(ids.First - 1, most, closing.PeekBytes);
        if (!IsFirst(readings, ids, out var none)) return none;
        var fitting = ids.ContainsAll(ids.First, readings[^1].Id)
            ? readings
            : readings.TakeWhile(reading => ids.Contains(reading.Id)).ToList();
        foreach (var reading in fitting) _largestPayload = Math.Max(_largestPayload, reading.Payload.Length);
        var batch = encoder.Encode(fitting, closing.MaxBytes, lane, settings.IsGzip);
        var isFull = !canGrow || fitting.Count == most || batch.Readings.Count < readings.Count
            || batch.Body.Length + _largestPayload > closing.PeekBytes;
        if (mayWait && !isFull && UntilDue(readings[0], settings.UploadInterval) is var rest && rest > TimeSpan.Zero)
            return new(null, IdSet.Empty, rest);

        // The other readings fill less than a chunk: they wait for more, but no longer than the upload interval.
        var packed = Pack(batch, closing);
        var canRestWait = isFull || packed.Readings.Count == batch.Readings.Count || !IsOld(batch, packed, settings);
        if (canRestWait && (!canGrow || mayWait)) batch = packed;
        if (batch.Readings.Count > closing.Most) batch = Whole(batch.Readings.Take(closing.Most), lane);
        return new(batch, batch.Range, null);
    }

    /// <summary>Recreates a sent batch with the same boundaries; null: its readings are no longer the same.</summary>
    public Batch? Again(IdSet ids, Lane lane, long lastId, int count)
    {
        var readings = buffer.PeekBatch(ids.First - 1, count, int.MaxValue);
        return readings.Count == count && readings[0].Id == ids.First && readings[^1].Id == lastId
            && readings.All(reading => ids.Contains(reading.Id))
            ? Whole(readings, lane) with { MayHaveArrived = true, Conflict = ConflictMeaning.Denied }
            : null;
    }

    /// <summary>A batch of some readings of another batch, in the same lane.</summary>
    public Batch Part(Batch batch, IEnumerable<BufferedReading> readings) =>
        Whole(readings, batch.Lane) with { IsReplay = batch.IsReplay };

    /// <summary>A batch of just these readings.</summary>
    public Batch Whole(IEnumerable<BufferedReading> readings, Lane lane) =>
        encoder.Encode([.. readings], int.MaxValue, lane);

    /// <summary>The highest waiting id that was recorded before a wall-clock time, by bisection; 0: none.</summary>
    public long LastBefore(DateTimeOffset time)
    {
        var (low, high) = (0L, buffer.LastCommittedId);
        while (low < high)
        {
            var middle = low + ((high - low) / 2);
            var next = buffer.PeekBatch(middle, 1, 1);
            if (next.Count > 0 && next[0].RecordedAt < time) low = next[0].Id;
            else high = middle;
        }

        return low;
    }

    // Whether the first id of the set still waits. If not, the ids before the first reading found are gone.
    static bool IsFirst(IReadOnlyList<BufferedReading> found, IdSet ids, out Cut gone)
    {
        var isFirst = found.Count > 0 && found[0].Id == ids.First;
        var last = found.Count > 0 ? Math.Min(found[0].Id - 1, ids.Last) : ids.Last;
        gone = isFirst ? default : new(null, IdSet.Of(ids.First, last), null);
        return isFirst;
    }

    Batch Pack(Batch batch, in Closing closing)
    {
        if (!closing.IsPacked) return batch;
        var tags = batch.Tags.Bytes;
        var whole = Quota.WholeChunkBytes(batch.BodyFor(closing.Settings).Length + tags) - tags;
        return whole > 0 ? encoder.Encode(batch.Readings, whole, batch.Lane, closing.Settings.IsGzip) : batch;
    }

    bool IsOld(Batch batch, Batch packed, ForwardingSettings settings) =>
        timeProvider.GetUtcNow() - batch.Readings[packed.Readings.Count].RecordedAt >= settings.UploadInterval;

    /// <summary>Time until the oldest waiting reading is old enough. Its age is the longer of the wall-clock age (a
    /// restart does not extend the wait) and the monotonic time since it was first seen (a clock that is set back does
    /// not either).</summary>
    TimeSpan UntilDue(BufferedReading oldest, TimeSpan interval)
    {
        if (_pending.Id != oldest.Id)
            (_pending, _pendingSince) = (oldest with { Payload = default }, timeProvider.GetTimestamp());
        var age = timeProvider.GetUtcNow() - _pending.RecordedAt;
        var seen = timeProvider.GetElapsedTime(_pendingSince);
        return interval - (age > seen ? age : seen);
    }
}
