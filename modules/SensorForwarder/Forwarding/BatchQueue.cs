using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Decides what the next batch is, and when it is due. Batches that were given back come first, oldest first and with
/// the boundaries that they had; then what waits in the buffer behind the cursor. Used by the forwarder's loop only.
/// </summary>
internal sealed class BatchQueue(TelemetryBuffer buffer, BatchEncoder encoder, TimeProvider timeProvider)
{
    readonly LinkedList<Batch> _again = new();

    // Everything up to here was taken out, or is gone from the buffer.
    long _cursor;
    Pending? _pending;
    int _largestPayload = 1;

    /// <summary>No batch waits to be sent again.</summary>
    public bool IsFresh => _again.Count == 0;

    /// <summary>Every id up to here has left this queue for good, or is under way.</summary>
    public long TakenThrough => _again.First is { } next ? Math.Min(_cursor, next.Value.FirstId - 1) : _cursor;

    /// <summary>Gives batches back, to be sent again before anything else.</summary>
    public void GiveBack(IReadOnlyList<Batch> batches)
    {
        for (var i = batches.Count - 1; i >= 0; i--) _again.AddFirst(batches[i]);
    }

    /// <summary>Halves a batch that was too large, or that has something in it that the receiver refuses.</summary>
    public IReadOnlyList<Batch> Split(Batch batch)
    {
        var half = batch.Readings.Count / 2;
        return
        [
            encoder.Encode([.. batch.Readings.Take(half)], int.MaxValue),
            encoder.Encode([.. batch.Readings.Skip(half)], int.MaxValue),
        ];
    }

    /// <summary>Starts over at the oldest row: something came back into the buffer below the cursor. Nothing may be
    /// under way, and everything acknowledged must be deleted.</summary>
    public void Rewind()
    {
        _cursor = 0;
        _pending = null;
    }

    /// <summary>The next batch, or null and how long until there may be one without anything new (null: never).</summary>
    /// <param name="settings">Size and age that close a batch.</param>
    /// <param name="maxBytes">Bytes that close a batch.</param>
    /// <param name="flushThrough">Readings up to this id do not wait for a full batch.</param>
    /// <param name="due">Time to the next look.</param>
    public Batch? Next(ForwardingSettings settings, int maxBytes, long flushThrough, out TimeSpan? due)
    {
        due = null;
        if (_again.First is { } again)
        {
            _again.RemoveFirst();
            return again.Value;
        }

        var waiting = buffer.LastCommittedId - _cursor;
        if (waiting <= 0 || (_pending ??= FirstPending()) is not { } pending) return null;

        // Looking at the rows costs something: only when they may make a batch.
        var left = UntilDue(pending, settings.UploadInterval);
        var isDue = left <= TimeSpan.Zero || _cursor < flushThrough;
        var mayBeFull = waiting >= settings.BatchSize || waiting * _largestPayload >= maxBytes;
        if (isDue || mayBeFull)
        {
            var readings = buffer.PeekBatch(_cursor, settings.BatchSize, maxBytes);
            if (readings.Count == 0)
            {
                _cursor = Math.Max(_cursor, pending.LastCommittedId); // evicted meanwhile
                _pending = null;
                return null;
            }

            foreach (var reading in readings) _largestPayload = Math.Max(_largestPayload, reading.Payload.Length);
            var batch = encoder.Encode(readings, maxBytes);
            if (isDue || IsFull(batch, readings.Count, settings, maxBytes))
            {
                _cursor = batch.LastId;
                _pending = null;
                return batch;
            }
        }

        due = left;
        return null;
    }

    bool IsFull(Batch batch, int peeked, ForwardingSettings settings, int maxBytes) =>
        peeked == settings.BatchSize || batch.Readings.Count < peeked || batch.Body.Length + _largestPayload > maxBytes;

    Pending? FirstPending()
    {
        var last = buffer.LastCommittedId;
        var first = buffer.PeekBatch(_cursor, 1, 1);
        if (first.Count > 0) return new(first[0].RecordedAt, timeProvider.GetTimestamp(), last);
        _cursor = Math.Max(_cursor, last);
        return null;
    }

    /// <summary>Time until the oldest waiting reading is old enough. Its age is taken from the wall clock, so that a
    /// restart does not begin the wait anew, but a clock that was set back can't stretch it.</summary>
    TimeSpan UntilDue(Pending pending, TimeSpan interval)
    {
        var age = timeProvider.GetUtcNow() - pending.RecordedAt;
        var seen = timeProvider.GetElapsedTime(pending.SeenAt);
        return interval - (age > seen ? age : seen);
    }

    /// <summary>The oldest reading that waits behind the cursor.</summary>
    sealed record Pending(DateTimeOffset RecordedAt, long SeenAt, long LastCommittedId);
}
