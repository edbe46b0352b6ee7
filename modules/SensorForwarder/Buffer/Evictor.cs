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
        var needed = (payloadBytes + ((long)readings * RowOverheadBytes)) * 9 / 8 / BufferSchema.PageBytes;
        return (pages - free + needed + 8) * BufferSchema.PageBytes > budget.DatabaseBytes;
    }

    /// <summary>Deletes a piece of the oldest readings, in the running transaction.</summary>
    /// <returns>How many.</returns>
    public static int DropOldest(QueueStore store) => Evict(store, EvictionLedger.Dropped, PieceRows, static (_, _) => true);

    /// <summary>Deletes the oldest readings that are older than the limit, in the running transaction.</summary>
    /// <returns>How many; 0 when none is too old.</returns>
    public int Expire(QueueStore store, TimeSpan maxAge) => Evict(
        store, EvictionLedger.Expired, PieceRows, (recordedAt, segment) => clock.Age(recordedAt, segment) > maxAge);

    static int Evict(QueueStore store, string reason, int maxRows, Func<long, int, bool> goes)
    {
        var bySensor = new Dictionary<string, long>();
        long first = 0, last = 0;
        var count = 0;
        using (var query = store.Connection.PrepareOnce(
            "SELECT id, recorded_at, clock, payload FROM queue ORDER BY id LIMIT ?1"))
        {
            query.Bind(1, maxRows);
            while (query.Step() && goes(query.Number(1), (int)query.Number(2)))
            {
                last = query.Number(0);
                if (count++ == 0)
                    first = last;
                var sensor = EvictionLedger.SensorOf(query.Bytes(3));
                bySensor[sensor] = bySensor.GetValueOrDefault(sensor) + 1;
            }
        }
        if (count == 0)
            return 0;
        store.Delete(first, last);
        store.RefreshFirst();
        EvictionLedger.Add(store, reason, bySensor, first, last);
        return count;
    }
}
