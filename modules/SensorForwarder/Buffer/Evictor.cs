namespace SensorForwarder.Buffer;

/// <summary>Makes room: takes the oldest readings out, one bounded piece a transaction. Owned by the writer's thread.
/// </summary>
internal sealed class Evictor(ReadingClock clock)
{
    const int PieceRows = 4_096;

    // Bytes that a row, its place in the tree, and a half-filled page add to the payload; measured, rounded up.
    const int RowOverheadBytes = 32;

    /// <summary>Whether a transaction with so many payload bytes and readings goes beyond the database's share.
    /// </summary>
    public static bool IsOver(QueueStore store, StorageBudget budget, long payloadBytes, int readings)
    {
        var (pages, free) = store.CountPages();
        return (pages - free + NeededPages(payloadBytes, readings)) * BufferSchema.PageBytes > budget.DatabaseBytes;
    }

    /// <summary>Whether such a transaction finds free pages enough, so that the file does not grow.</summary>
    public static bool FitsFreePages(QueueStore store, long payloadBytes, int readings) =>
        readings == 0 || NeededPages(payloadBytes, readings) <= store.CountPages().Free;

    static long NeededPages(long payloadBytes, int readings) =>
        ((payloadBytes + ((long)readings * RowOverheadBytes)) * 9 / 8 / BufferSchema.PageBytes) + 8;

    /// <summary>Deletes a piece of the oldest readings, in the running transaction.</summary>
    /// <returns>How many.</returns>
    public static int DropOldest(QueueStore store) =>
        Evict(store, EvictionLedger.Dropped, PieceRows, static (_, _) => true);

    /// <summary>Halves the resolution of a piece of the old readings, in the running transaction.</summary>
    /// <returns>How many went; 0 when thinning no longer helps.</returns>
    public static int Thin(QueueStore store)
    {
        var levels = ThinningLevels.Load(store);
        // The newest quarter stays whole.
        var wholeFromId = store.Marks.LastId - (store.Marks.Depth / 4) + 1;
        // A level may have fewer readings than its ids let one think, or hardly two a sensor, and so
        // nothing left to give.
        return levels.Choose(store.Marks, wholeFromId).ToList()
            .Select(piece => Thin(store, levels, piece)).FirstOrDefault(gone => gone > 0);
    }

    static int Thin(QueueStore store, ThinningLevels levels, (int Level, long AfterId, long ThroughId) piece)
    {
        var rows = ReadPiece(store, Math.Max(piece.AfterId, store.Marks.AcknowledgedThrough), piece.ThroughId);
        var bySensor = ChooseRows(rows);
        var goes = rows.Count(r => !r.Stays);
        if (goes == 0 || goes < rows.Count / 16)
            return 0;
        // Taken out and put back, not deleted one by one: half-empty pages would give no room back.
        store.Delete(rows[0].Id, rows[^1].Id);
        foreach (var row in rows.Where(r => r.Stays))
            store.Restore(row.Id, row.RecordedAtMs, row.Clock, row.Stored, row.IsBlob);
        store.RefreshFirst();
        levels.Advance(piece.Level, rows[^1].Id, rows.Count, rows.Count - goes);
        levels.Save(store);
        EvictionLedger.Add(store, EvictionLedger.Thinned, bySensor, rows[0].Id, rows[^1].Id);
        return goes;
    }

    /// <summary>Deletes the oldest readings that are older than the limit, in the running transaction.</summary>
    /// <returns>How many; 0 when none is too old.</returns>
    public int Expire(QueueStore store, TimeSpan maxAge) => Evict(
        store, EvictionLedger.Expired, PieceRows, (recordedAt, segment) => clock.Age(recordedAt, segment) > maxAge);

    /// <summary>Gives up the oldest dead letters beyond a count, in the running transaction.</summary>
    /// <returns>How many.</returns>
    public static int BoundDeadLetters(QueueStore store, int most)
    {
        var excess = (int)Math.Max(0, store.Marks.DeadLetters - most);
        if (excess == 0)
            return 0;
        var (bySensor, _, _, count) = CountBySensor(
            store, "SELECT id, recorded_at, clock, payload FROM dead_letter WHERE id > ?1 ORDER BY id LIMIT ?2", 0,
            excess, static (_, _) => true);
        store.RemoveDeadLetters(count);
        // The receiver refused each of them itself. One that refuses gap entries too would make a letter
        // of each, and push out one more.
        EvictionLedger.Add(store, EvictionLedger.Undeliverable, bySensor, null, null, isAnnounced: true);
        return count;
    }

    static List<Row> ReadPiece(QueueStore store, long afterId, long throughId)
    {
        var rows = new List<Row>();
        using var query = store.Connection.PrepareOnce("""
            SELECT id, recorded_at, clock, payload FROM queue WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3
            """);
        query.Bind(1, afterId).Bind(2, throughId).Bind(3, PieceRows);
        while (query.Step())
        {
            var (id, stored, isBlob) = (query.Number(0), query.Bytes(3).ToArray(), query.IsBlob(3));
            rows.Add(new Row(
                id, query.Number(1), (int)query.Number(2), stored, isBlob,
                isBlob ? store.Plain(id, stored, isBlob).ToArray() : stored));
        }
        return rows;
    }

    /// <returns>How many go, by sensor.</returns>
    static Dictionary<string, long> ChooseRows(List<Row> rows)
    {
        var bySensor = new Dictionary<string, long>();
        foreach (var sensor in rows.GroupBy(r => EvictionLedger.SensorOf(r.Plain)))
        {
            var history = sensor.ToList();
            var stays = Thinning.Choose([.. history.Select(r => r.Plain)]);
            for (var i = 0; i < stays.Length; i++)
                history[i].Stays = stays[i];
            if (stays.Count(s => !s) is var gone && gone > 0)
                bySensor[sensor.Key] = gone;
        }
        return bySensor;
    }

    static int Evict(QueueStore store, string reason, int maxRows, Func<long, int, bool> goes)
    {
        var (bySensor, first, last, count) = CountBySensor(
            store, "SELECT id, recorded_at, clock, payload FROM queue WHERE id > ?1 ORDER BY id LIMIT ?2",
            store.Marks.AcknowledgedThrough, maxRows, goes);
        if (count == 0)
            return 0;
        store.Delete(first, last);
        store.RefreshFirst();
        EvictionLedger.Add(store, reason, bySensor, first, last);
        return count;
    }

    static (Dictionary<string, long> BySensor, long First, long Last, int Count) CountBySensor(
        QueueStore store, string select, long afterId, int maxRows, Func<long, int, bool> goes)
    {
        var bySensor = new Dictionary<string, long>();
        long first = 0, last = 0;
        var count = 0;
        using var query = store.Connection.PrepareOnce(select);
        query.Bind(1, afterId).Bind(2, maxRows);
        while (query.Step() && goes(query.Number(1), (int)query.Number(2)))
        {
            last = query.Number(0);
            if (count++ == 0)
                first = last;
            var sensor = EvictionLedger.SensorOf(store.Plain(last, query.Bytes(3), query.IsBlob(3)));
            bySensor[sensor] = bySensor.GetValueOrDefault(sensor) + 1;
        }
        return (bySensor, first, last, count);
    }

    sealed record Row(long Id, long RecordedAtMs, int Clock, byte[] Stored, bool IsBlob, byte[] Plain)
    {
        public bool Stays { get; set; }
    }
}
