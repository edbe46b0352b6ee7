using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>Keeps the file within its limit, a bounded amount per transaction: merges segments, and thins, drops and
/// expires readings. Runs on the writer's thread.</summary>
internal static class Bounds
{
    // Waiting readings dropped per transaction.
    const int DroppedReadings = 4_096;

    // Merging usually waits until it makes a segment of at least this many readings.
    const int FewReadings = Segments.MaxReadings / 2;

    // Payload bytes that a thinning reads into memory and rewrites in one transaction.
    const int ThinnedBytes = 1 << 20;

    // Bytes per reading in the text of a segment besides the payload, before compression.
    const int LineOverheadBytes = 40;

    /// <summary>Whether a transaction with these payload bytes exceeds the database's share. Assumes no compression, as
    /// for random payloads.</summary>
    public static bool IsOver(Store store, StorageBudget budget, long payloadBytes, int readings)
    {
        var (pages, free) = store.CountPages();
        return (pages - free + NeededPages(payloadBytes, readings)) * Schema.PageBytes > budget.DatabaseBytes;
    }

    /// <summary>Whether a transaction with these payload bytes fits into the free pages, so that the file does not
    /// grow.</summary>
    public static bool FitsFreePages(Store store, long payloadBytes, int readings) =>
        readings == 0
            || NeededPages((long)(payloadBytes * Math.Min(1, 2 * store.Compression)), 0) <= store.CountPages().Free;

    static long NeededPages(long payloadBytes, int readings) =>
        ((payloadBytes + ((long)readings * LineOverheadBytes)) / Schema.PageBytes) + 8;

    /// <summary>Merges the oldest small segments into one, in the running transaction.</summary>
    /// <param name="throughId">Newer readings are left alone: they may be delivered soon.</param>
    /// <param name="retain">How long delivered readings are kept; zero: merging removes them.</param>
    /// <returns>Whether there may be more to merge.</returns>
    public static bool Merge(Store store, long throughId, TimeSpan retain)
    {
        // Retained readings expire by whole segments, so a segment spans at most a sixteenth of the retention time.
        var keepsDelivered = retain > TimeSpan.Zero;
        var maxSpanMs = keepsDelivered ? (long)retain.TotalMilliseconds / 16 : long.MaxValue;
        var state = store.View.State;
        var run = new List<Segment>();
        var (readings, isFull) = (0, false);
        foreach (var segment in store.Segments.Find(
            Math.Max(state.MergedThrough + 1, store.View.FirstId), throughId, Segments.MaxReadings))
        {
            var isDelivered = !keepsDelivered && state.Delivered.ContainsAll(segment.FirstId, segment.LastId);
            isFull = run.Count > 0 && (isDelivered || readings + segment.Readings > Segments.MaxReadings
                || segment.NewestAtMs - run[0].NewestAtMs > maxSpanMs);
            if (isFull || segment.LastId > throughId)
                break;
            if (isDelivered)
                continue;
            run.Add(segment);
            readings += segment.Readings;
        }
        isFull |= readings >= FewReadings && run.Count > 0;
        if (!isFull)
            return false;
        if (readings >= 64)
        {
            // With large payloads only the first segments fit; a few readings are not worth a rewrite.
            var all = ReadFirst(store, run, Segments.MaxTextBytes);
            var kept = keepsDelivered ? all : all.FindAll(reading => !state.Delivered.Contains(reading.Id));
            if (all.Count >= 64)
                store.Rewrite(run, all, kept, run[0].Level);
        }
        store.SetState(store.View.State with { MergedThrough = run[^1].LastId });
        return true;
    }

    /// <summary>Drops the oldest waiting readings, in the running transaction.</summary>
    /// <returns>The number of readings dropped.</returns>
    public static int DropOldest(Store store)
    {
        var dropped = 0;
        foreach (var segment in store.Segments.Find(store.View.FirstId, Store.MaxId, Segments.MaxReadings))
        {
            if (dropped > 0 && dropped + segment.Readings > DroppedReadings)
                break;
            dropped += Evict(store, segment, EvictionLedger.Dropped, static _ => true);
        }
        return dropped;
    }

    /// <summary>Drops waiting readings older than <paramref name="maxAge"/>, in the running transaction.</summary>
    /// <returns>The number of readings dropped.</returns>
    public static int Expire(Store store, ReadingClock clock, TimeSpan maxAge)
    {
        var dropped = 0;
        foreach (var segment in store.Segments.Find(store.View.FirstId, Store.MaxId, Segments.MaxReadings))
        {
            var expired = Evict(
                store, segment, EvictionLedger.Expired,
                reading => clock.Age(reading.RecordedAtMs, reading.Clock) > maxAge);
            dropped += expired;
            if (dropped >= DroppedReadings || expired < segment.Readings)
                break;
        }
        return dropped;
    }

    /// <summary>Halves the resolution of some of the old readings, in the running transaction.</summary>
    /// <returns>The number of readings removed; 0 when thinning no longer helps.</returns>
    public static int Thin(Store store)
    {
        var levels = ThinningLevels.Load(store);
        // With few readings per sensor a level yields nothing, because all of them are kept: try the next level.
        return levels.Choose(store.View, WholeFrom(store)).ToList()
            .Select(piece => Thin(store, levels, piece)).FirstOrDefault(gone => gone > 0);
    }

    /// <summary>The first id of the newest quarter, which is not thinned.</summary>
    public static long WholeFrom(Store store) => store.LastId - (store.View.State.Waiting / 4) + 1;

    static int Thin(Store store, ThinningLevels levels, (int Level, long AfterId, long ThroughId) piece)
    {
        // Usually two segments. With many sensors that may remove nothing, since the first and last reading of each
        // sensor are kept; then eight.
        foreach (var most in (int[])[2, 8])
        {
            var left = most * Segments.MaxReadings;
            var segments = store.Segments.Find(piece.AfterId + 1, piece.ThroughId, Segments.MaxReadings)
                .FindAll(segment => segment.FirstId > piece.AfterId && segment.LastId <= piece.ThroughId)
                .TakeWhile(segment => (left -= segment.Readings) >= 0).ToList();
            if (segments.Count == 0)
                return 0;
            var readings = ReadFirst(store, segments, ThinnedBytes);
            var state = store.View.State;
            var waiting = readings.FindAll(reading => !state.NotWaiting.Contains(reading.Id));
            var kept = Choose(waiting, out var bySensor);
            var gone = waiting.Count - kept.Count;
            if (gone == 0 || gone < waiting.Count / 16)
                continue;
            // Handed-over readings may return to waiting.
            var handedOver = readings.FindAll(reading => state.HandedOver.Contains(reading.Id)).Select(r => r.Id);
            kept.UnionWith(handedOver);
            store.Rewrite(
                segments, readings, readings.FindAll(reading => kept.Contains(reading.Id)), piece.Level + 1);
            levels.Advance(piece.Level, segments[^1].LastId, waiting.Count, waiting.Count - gone);
            levels.Save(store);
            EvictionLedger.Add(store, EvictionLedger.Thinned, bySensor, segments[0].FirstId, segments[^1].LastId);
            return gone;
        }
        return 0;
    }

    /// <summary>Deletes the oldest dead letters beyond a count, in the running transaction.</summary>
    /// <returns>The number of dead letters deleted.</returns>
    public static int BoundDeadLetters(Store store, int most) =>
        RemoveDeadLetters(store, (int)Math.Max(0, store.View.DeadLetters - most));

    /// <summary>Deletes the oldest dead letters beyond a count, or beyond a size: those of other programs must not
    /// displace readings. The newest one is kept.</summary>
    /// <returns>The number of dead letters deleted.</returns>
    public static int BoundDeadLetters(Store store, int most, long maxBytes)
    {
        var deleted = BoundDeadLetters(store, most);
        while (store.View.DeadLetters > 1 && store.Records.DeadLetterBytes() > maxBytes)
            deleted += RemoveDeadLetters(store, 1);
        return deleted;
    }

    static int RemoveDeadLetters(Store store, int excess)
    {
        if (excess == 0)
            return 0;
        var bySensor = EvictionLedger.CountBySensor(
            store.Records.ReadDeadLetters(0, excess, long.MaxValue).Select(letter => letter.Reading));
        store.DeleteDeadLetters(excess);
        // Not announced: the receiver has refused these readings itself, and a refused gap entry would become a dead
        // letter that deletes another one.
        EvictionLedger.Add(store, EvictionLedger.Undeliverable, bySensor, null, null, isAnnounced: true);
        return excess;
    }

    /// <summary>Reads as many of the first segments as fit into a size, at least one, and removes the others from the
    /// list.</summary>
    static List<StoredReading> ReadFirst(Store store, List<Segment> segments, long maxBytes)
    {
        var all = new List<StoredReading>();
        var bytes = 0L;
        for (var i = 0; i < segments.Count; i++)
        {
            var readings = store.Read(segments[i]);
            bytes += readings.Sum(reading => (long)reading.Payload.Length);
            if (i > 0 && bytes > maxBytes)
            {
                segments.RemoveRange(i, segments.Count - i);
                break;
            }
            all.AddRange(readings);
        }
        return all;
    }

    /// <returns>The ids of the readings to keep.</returns>
    static HashSet<long> Choose(List<StoredReading> readings, out Dictionary<string, long> gone)
    {
        gone = [];
        var kept = readings.Where(IsAlarm).Select(reading => reading.Id).ToHashSet();
        foreach (var sensor in readings.Where(reading => !IsAlarm(reading))
            .GroupBy(reading => EvictionLedger.SensorOf(reading.Payload.Span)))
        {
            var history = sensor.ToList();
            var chosen = Thinning.Choose([.. history.Select(reading => reading.Payload)]);
            for (var i = 0; i < chosen.Length; i++)
            {
                if (chosen[i])
                    kept.Add(history[i].Id);
            }
            if (chosen.Count(isKept => !isKept) is var count && count > 0)
                gone[sensor.Key] = count;
        }
        return kept;

        // Alarm reports are not thinned: no other reading contains the same change.
        static bool IsAlarm(StoredReading reading) => AlarmReport.IsIn(reading.Payload.Span);
    }

    /// <summary>Evicts undelivered readings of a segment, and removes its delivered ones.</summary>
    /// <returns>The number of readings evicted.</returns>
    static int Evict(Store store, Segment segment, string reason, Func<StoredReading, bool> canDrop)
    {
        var readings = store.Read(segment);
        var delivered = store.View.State.Delivered;
        var gone = readings.Where(reading => !delivered.Contains(reading.Id) && canDrop(reading)).ToList();
        if (gone.Count == 0)
            return 0;
        var kept = readings.Where(reading => !delivered.Contains(reading.Id) && !canDrop(reading)).ToList();
        store.Rewrite([segment], readings, kept, segment.Level);
        EvictionLedger.Add(store, reason, EvictionLedger.CountBySensor(gone), gone[0].Id, gone[^1].Id);
        return gone.Count;
    }
}
