using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>What closes a batch now.</summary>
/// <param name="Settings">Size and age.</param>
/// <param name="MaxBytes">Bytes that the sink takes.</param>
/// <param name="FlushThrough">Readings up to this id do not wait for a full batch.</param>
/// <param name="Cut">Readings that are taken at most once a batch may leave, fewer than fill it: for a probe.</param>
/// <param name="IsPacked">A batch of more than one chunk that is billed is cut to whole ones, where
/// the rest can wait.</param>
internal readonly record struct Closing(
    ForwardingSettings Settings, int MaxBytes, long FlushThrough, int Cut = int.MaxValue, bool IsPacked = false)
{
    /// <summary>Any one reading that was not tried yet is wanted, rather than the oldest; null: in order.</summary>
    public Random? AnyOne { get; init; }
}

/// <summary>
/// Decides what the next batch of a lane is, and when it is due. With <see cref="DrainOrder.OldestFirst"/> there is one
/// lane, in the order of ids. With <see cref="DrainOrder.LiveFirst"/> the live lane passes over what it can't send in
/// time, and the backfill lane follows through what was passed over, oldest first. Batches that were given back come
/// again with the boundaries that they had. Used by the forwarder's loop only.
/// </summary>
internal sealed class Lanes(TelemetryBuffer buffer, BatchEncoder encoder, TimeProvider timeProvider)
{
    // How far the live lane may lag behind before it passes over the backlog: two intervals, and a few
    // requests on a slow line.
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    readonly CommitAges _ages = new(timeProvider);
    readonly SortedDictionary<long, Batch> _again = [];

    // What the live lane passed over, oldest first.
    readonly List<IdRange> _passedOver = [];

    // Everything up to here was taken out, passed over, or is gone from the buffer.
    long _cursor;
    Pending? _pending;
    int _largestPayload = 1;
    bool _started;

    /// <summary>No batch waits to be sent again.</summary>
    public bool IsFresh => _again.Count == 0;

    /// <summary>What is remembered of the batches that left.</summary>
    public SentRecord Sent { get; } = new(buffer);

    /// <summary>Batches that wait to be sent again.</summary>
    public IEnumerable<Batch> Again => _again.Values;

    /// <summary>Something was passed over that the backfill lane has not taken yet, or waits to be
    /// sent again in it.</summary>
    public bool HasBacklog => _passedOver.Count > 0 || FirstAgain(Lane.Backfill) is not null;

    /// <summary>Every id up to here has left for good, or is under way.</summary>
    public long TakenThrough
    {
        get
        {
            var through = _passedOver.Count > 0 ? _passedOver[0].After : _cursor;
            return _again.Count > 0 ? Math.Min(through, _again.First().Value.FirstId - 1) : through;
        }
    }

    /// <summary>Whether the one lane is at readings that have waited longer than new ones do.</summary>
    public bool IsBehind(ForwardingSettings settings) => TakenThrough < _ages.CommittedBefore(LongestLag(settings));

    /// <summary>Something waits that was not taken yet.</summary>
    public bool HasWaiting => _again.Count > 0 || _cursor < buffer.LastCommittedId;

    /// <summary>What a lane has not taken out yet: how many ids, and the id behind which the
    /// oldest of them is.</summary>
    public (long Count, long After) Waiting(Lane lane, DrainOrder order)
    {
        var isOneLane = order == DrainOrder.OldestFirst;
        if (isOneLane && lane == Lane.Backfill) return (0, _cursor);
        var takesPassedOver = isOneLane || lane == Lane.Backfill;
        var (count, after) = lane == Lane.Live ? (buffer.LastCommittedId - _cursor, _cursor) : (0, long.MaxValue);
        if (takesPassedOver && _passedOver.Count > 0)
            (count, after) =
                (count + _passedOver.Sum(range => range.Through - range.After), Math.Min(after, _passedOver[0].After));
        foreach (var batch in _again.Values.Where(batch => isOneLane || batch.Lane == lane))
            (count, after) = (count + batch.Readings.Count, Math.Min(after, batch.FirstId - 1));
        return (Math.Max(0, count), after);
    }

    /// <summary>Looks at what was committed since. To be called often, also while nothing can be sent.</summary>
    public void Observe(ForwardingSettings settings)
    {
        if (!_started) Start(settings);
        _ages.Note(buffer.LastCommittedId, LongestLag(settings));
    }

    /// <summary>Gives batches back, to be sent again before anything else of their lane.</summary>
    public void GiveBack(IEnumerable<Batch> batches)
    {
        foreach (var batch in batches)
        {
            if (batch.IsSample && !batch.MayHaveArrived) PassOver(batch.FirstId - 1, batch.LastId);
            else _again.Add(batch.FirstId, batch);
        }
    }

    /// <summary>Cuts a batch in two: for a receiver that takes smaller ones only, or to find the one that it refuses.
    /// </summary>
    public IReadOnlyList<Batch> Split(Batch batch, int firstCount) =>
        [Part(batch, batch.Readings.Take(firstCount)), Part(batch, batch.Readings.Skip(firstCount))];

    /// <summary>A batch of some of the readings of another.</summary>
    public Batch Part(Batch batch, IEnumerable<BufferedReading> readings) =>
        encoder.Encode([.. readings], int.MaxValue, batch.Lane);

    /// <summary>Starts over at the oldest row: something came back into the buffer below the cursor. Nothing may be
    /// under way, and everything acknowledged must be deleted.</summary>
    public void Rewind()
    {
        _passedOver.Clear();
        PassOver(0, _cursor);
    }

    /// <summary>The next batch of a lane, or null and how long until there may be one without anything new (null:
    /// never).
    /// </summary>
    public Batch? Next(Lane lane, in Closing closing, out TimeSpan? due)
    {
        due = null;
        var isOneLane = closing.Settings.DrainOrder == DrainOrder.OldestFirst;
        if (isOneLane && lane == Lane.Backfill) return null;
        if (closing.AnyOne is { } random && AnyOne(random, lane, closing) is { } sample) return sample;

        // In one lane what was passed over may be older than what comes again.
        var again = FirstAgain(isOneLane ? null : lane);
        if (isOneLane && NextPassedOver(lane, closing, again?.FirstId ?? long.MaxValue) is { } older) return older;
        if (again is not null) return Remove(again);
        if (lane == Lane.Backfill && NextPassedOver(lane, closing, long.MaxValue) is { } old) return old;
        if (lane == Lane.Backfill) return null;
        if (!isOneLane) KeepUp(closing.Settings);
        return NextFresh(closing, out due);
    }

    static TimeSpan LongestLag(ForwardingSettings settings) => (2 * settings.UploadInterval) + Patience;

    Batch Remove(Batch again)
    {
        _again.Remove(again.FirstId);
        return again;
    }

    Batch? FirstAgain(Lane? lane)
    {
        foreach (var batch in _again.Values)
        {
            if (lane is null || batch.Lane == lane) return batch;
        }

        return null;
    }

    Batch? NextPassedOver(Lane lane, in Closing closing, long before)
    {
        while (_passedOver.Count > 0 && _passedOver[0].After < before)
        {
            var range = _passedOver[0];
            var readings = buffer.PeekBatch(range.After, closing.Settings.BatchSize, closing.MaxBytes);
            if (readings.Count > 0 && readings[^1].Id > range.Through)
                readings = [.. readings.TakeWhile(reading => reading.Id <= range.Through)];
            if (readings.Count == 0)
            {
                _passedOver.RemoveAt(0);
                continue;
            }

            var batch = Cut(Pack(encoder.Encode(readings, closing.MaxBytes, lane), closing), closing);
            if (batch.LastId < range.Through) _passedOver[0] = range with { After = batch.LastId };
            else _passedOver.RemoveAt(0);
            return batch;
        }

        return null;
    }

    /// <summary>One of all that were not tried yet, each as likely as the next, and the others stay passed over; where
    /// new readings have a lane of their own, one of the backlog. Null when there is none, or it is gone.</summary>
    Batch? AnyOne(Random random, Lane lane, in Closing closing)
    {
        if (closing.Settings.DrainOrder == DrainOrder.OldestFirst)
        {
            PassOver(_cursor, buffer.LastCommittedId);
            _cursor = Math.Max(_cursor, buffer.LastCommittedId);
            _pending = null;
        }
        else
        {
            KeepUp(closing.Settings);
            if (lane == Lane.Live) return null;
        }

        var waiting = _passedOver.Sum(range => range.Through - range.After);
        if (waiting == 0) return null;
        var skipped = random.NextInt64(waiting);
        var i = 0;
        for (; skipped >= _passedOver[i].Through - _passedOver[i].After; i++) skipped -= _passedOver[i].Through
            - _passedOver[i].After;
        var range = _passedOver[i];
        var readings = buffer.PeekBatch(range.After + skipped, 1, closing.MaxBytes);
        if (readings.Count == 0 || readings[0].Id > range.Through) return null;
        _passedOver.RemoveAt(i);
        PassOver(range.After, readings[0].Id - 1);
        PassOver(readings[0].Id, range.Through);
        return encoder.Encode(readings, closing.MaxBytes, lane) with { IsSample = true };
    }

    Batch? NextFresh(in Closing closing, out TimeSpan? due)
    {
        due = null;
        var settings = closing.Settings;
        var waiting = buffer.LastCommittedId - _cursor;
        if (waiting <= 0 || (_pending ??= FirstPending()) is not { } pending) return null;

        // Looking at the rows costs something: only when they may make a batch.
        var left = UntilDue(pending, settings.UploadInterval);
        var isDue = left <= TimeSpan.Zero || _cursor < closing.FlushThrough;
        var mayBeFull = waiting >= settings.BatchSize || waiting * _largestPayload >= closing.MaxBytes;
        if (isDue || mayBeFull)
        {
            var readings = buffer.PeekBatch(_cursor, settings.BatchSize, closing.MaxBytes);
            if (readings.Count == 0)
            {
                _cursor = Math.Max(_cursor, pending.LastCommittedId); // evicted meanwhile
                _pending = null;
                return null;
            }

            foreach (var reading in readings) _largestPayload = Math.Max(_largestPayload, reading.Payload.Length);
            var batch = encoder.Encode(readings, closing.MaxBytes);
            var isFull = IsFull(batch, readings.Count, closing);
            if (isDue || isFull)
            {
                // What is cut off is less than a chunk: it waits for company, but no longer than its own time.
                var packed = Pack(batch, closing);
                var mayWait = isFull || packed.Readings.Count == batch.Readings.Count
                    || timeProvider.GetUtcNow()
                        - batch.Readings[packed.Readings.Count].RecordedAt < settings.UploadInterval;
                batch = Cut(mayWait && _cursor >= closing.FlushThrough ? packed : batch, closing);
                _cursor = batch.LastId;
                _pending = null;
                return batch;
            }
        }

        due = left;
        return null;
    }

    Batch Pack(Batch batch, in Closing closing)
    {
        var whole = (batch.Body.Length + Quota.PropertyBytes) / Quota.ChunkBytes * Quota.ChunkBytes;
        return closing.IsPacked && whole > 0
            ? encoder.Encode(batch.Readings, whole - Quota.PropertyBytes, batch.Lane)
            : batch;
    }

    Batch Cut(Batch batch, in Closing closing) =>
        batch.Readings.Count <= closing.Cut ? batch : Part(batch, batch.Readings.Take(closing.Cut));

    bool IsFull(Batch batch, int peeked, in Closing closing) =>
        peeked == closing.Settings.BatchSize || batch.Readings.Count < peeked
        || batch.Body.Length + _largestPayload > closing.MaxBytes;

    /// <summary>When the live lane lags too far behind, it leaves what is old to the backfill lane.</summary>
    void KeepUp(ForwardingSettings settings)
    {
        if (_cursor >= _ages.CommittedBefore(LongestLag(settings))) return;
        var through = _ages.CommittedBefore(LongestLag(settings) / 2);
        PassOver(_cursor, through);
        _cursor = through;
        _pending = null;
    }

    void PassOver(long after, long through)
    {
        if (after >= through) return;
        var next = _passedOver.FindIndex(range => range.After >= through);
        if (next < 0) next = _passedOver.Count;
        if (next < _passedOver.Count && _passedOver[next].After == through)
        {
            through = _passedOver[next].Through;
            _passedOver.RemoveAt(next);
        }

        if (next > 0 && _passedOver[next - 1].Through == after)
            _passedOver[next - 1] = _passedOver[next - 1] with { Through = through };
        else
            _passedOver.Insert(next, new(after, through));
    }

    /// <summary>What a run before has left is old but for its newest part, which only the wall clock tells.</summary>
    void Start(ForwardingSettings settings)
    {
        var oldest = timeProvider.GetUtcNow() - (LongestLag(settings) / 2);
        var (low, high) = (0L, buffer.LastCommittedId);
        while (low < high)
        {
            var middle = low + ((high - low) / 2);
            var next = buffer.PeekBatch(middle, 1, 1);
            if (next.Count > 0 && next[0].RecordedAt < oldest) low = next[0].Id;
            else high = middle;
        }

        _ages.SetOld(low);
        Restore(Sent.Load());
        _started = true;
    }

    /// <summary>Another receiver does not have the batches that are to be sent again.</summary>
    public void ForgetReceiver()
    {
        foreach (var (first, batch) in _again.ToList())
            _again[first] = batch with { Conflict = ConflictMeaning.Other };
    }

    /// <summary>What was sent and not acknowledged comes first, as it was; what lies between was passed over, or is
    /// gone.
    /// </summary>
    void Restore(IReadOnlyList<(IReadOnlyList<BufferedReading> Readings, Lane Lane, ConflictMeaning Conflict)> left)
    {
        foreach (var (readings, lane, conflict) in left)
        {
            var batch = encoder.Encode(readings, int.MaxValue, lane) with
            {
                MayHaveArrived = true,
                Conflict = conflict,
            };
            PassOver(_cursor, batch.FirstId - 1);
            _again.Add(batch.FirstId, batch);
            _cursor = batch.LastId;
        }
    }

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

    /// <summary>Ids above <paramref name="After"/>, up to <paramref name="Through"/>.</summary>
    readonly record struct IdRange(long After, long Through);

    /// <summary>The oldest reading that waits behind the cursor.</summary>
    sealed record Pending(DateTimeOffset RecordedAt, long SeenAt, long LastCommittedId);
}
