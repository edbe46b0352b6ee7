namespace SensorForwarder.Buffer;

/// <summary>The part of the store that deals with delivered rows. At the old end of the queue they stay where they are,
/// and only an id tells that they are dead. Those that overtook older ones are deleted, or moved out of the queue when
/// they are to be kept.</summary>
internal sealed partial class QueueStore
{
    /// <summary>A row that overtook older ones and is kept stands at its id minus this: below all
    /// that wait, in order.</summary>
    public const long KeptOffset = SalvagedRecords.MaxId;

    // Rows that are deleted in one transaction.
    const int DeletePieceRows = 20_000;

    // So few waiting rows are sooner written again than deleted around.
    const int FewRows = 1_024;

    /// <summary>Whether so few rows wait, and so many are dead, that <see cref="ReclaimAll"/> costs next to nothing.
    /// </summary>
    public bool IsCheapToReclaim => Marks.DeadRows >= 2 * FewRows && Marks.Depth <= FewRows;

    /// <summary>The rows of an id range were delivered. At the old end of the queue that is only noted.</summary>
    /// <param name="keeps">Whether they stay in the file until <see cref="Reclaim"/>, wherever they lie.</param>
    public void Acknowledge(long firstId, long lastId, bool keeps)
    {
        lastId = Math.Min(lastId, Marks.LastId);
        if (lastId < Marks.FirstId)
            return;
        if (firstId > Marks.FirstId)
        {
            var deadRows = keeps ? Keep(firstId, lastId) : 0;
            if (deadRows == 0)
                Delete(firstId, lastId);
            else
                Marks = Marks with { Depth = Marks.Depth - deadRows, DeadRows = Marks.DeadRows + deadRows };
            return;
        }
        var rows = Marks.Holes == 0 ? lastId - Marks.FirstId + 1 : Count(Marks.FirstId, lastId);
        Marks = Marks with
        {
            AcknowledgedThrough = lastId,
            DeadRows = Marks.DeadRows + rows,
            Depth = Marks.Depth - rows,
        };
        RefreshFirst();
    }

    /// <summary>Takes delivered rows out of the file: all of them where that is cheap, else a piece.</summary>
    /// <returns>Whether there were any.</returns>
    public bool ReclaimAll()
    {
        if (!IsCheapToReclaim)
            return Reclaim(DeletePieceRows, static (_, _) => true);
        Rewrite();
        return true;
    }

    /// <summary>Takes a piece of the oldest delivered rows out of the file.</summary>
    /// <param name="goes">Told when a row was recorded, and in which segment of the clock; the first
    /// that stays ends it.</param>
    /// <returns>Whether there were any.</returns>
    public bool Reclaim(int maxRows, Func<long, int, bool> goes)
    {
        if (Marks.DeadRows == 0)
            return false;
        var (kept, dead) = (Oldest(long.MinValue, -1), Oldest(1, Marks.AcknowledgedThrough));
        if (kept is null && dead is null)
        {
            Marks = Marks with { DeadRows = 0 };
            return false;
        }
        var (first, through) = dead is null || kept + KeptOffset < dead
            ? (kept!.Value, -1)
            : (dead.Value, Marks.AcknowledgedThrough);
        var (last, rows) = (first - 1, 0);
        using (var query = _connection.PrepareOnce(
            "SELECT id, recorded_at, clock FROM queue WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3"))
        {
            query.Bind(1, first).Bind(2, through).Bind(3, maxRows);
            for (; query.Step() && goes(query.Number(1), (int)query.Number(2)); rows++)
                last = query.Number(0);
        }
        if (rows == 0)
            return false;
        DeleteDelivered(first, last);
        return true;
    }

    /// <summary>Takes delivered rows from an id on out of the queue, so that rows may come back at ids that lie among
    /// them.
    /// </summary>
    public void ForgetAcknowledged(long firstId)
    {
        if (firstId > Marks.AcknowledgedThrough)
            return;
        DeleteDelivered(firstId, Marks.AcknowledgedThrough);
        Marks = Marks with { AcknowledgedThrough = firstId - 1 };
    }

    /// <summary>Counts rows that wait.</summary>
    public long Count(long firstId, long lastId)
    {
        using var query = _connection.PrepareOnce("SELECT count(*) FROM queue WHERE id BETWEEN ?1 AND ?2");
        return query.Bind(1, firstId).Bind(2, lastId).Step() ? query.Number(0) : 0;
    }

    void DeleteDelivered(long firstId, long lastId)
    {
        if (lastId == Marks.LastId)
            KeepLastId();
        _delete.Bind(1, firstId).Bind(2, lastId).Run();
        Marks = Marks with { DeadRows = Math.Max(1, Marks.DeadRows - _connection.Changes()) };
    }

    int Keep(long firstId, long lastId)
    {
        _keepOvertaker.Bind(1, firstId).Bind(2, lastId).Run();
        var rows = _connection.Changes();
        if (rows > 0 && lastId >= Marks.LastId)
            KeepLastId();
        return rows;
    }

    // DELETE without a condition frees the pages without writing them.
    void Rewrite()
    {
        var rows = new List<(long Id, long RecordedAtMs, int Clock, byte[] Payload, bool IsBlob)>();
        using (var query = _connection.PrepareOnce(
            "SELECT id, recorded_at, clock, payload FROM queue WHERE id > ?1 ORDER BY id"))
        {
            query.Bind(1, Marks.AcknowledgedThrough);
            while (query.Step())
            {
                rows.Add((query.Number(0), query.Number(1), (int)query.Number(2), query.Bytes(3).ToArray(),
                    query.IsBlob(3)));
            }
        }
        KeepLastId();
        _connection.Execute("DELETE FROM queue");
        Marks = Marks with { DeadRows = 0, Depth = 0 };
        foreach (var row in rows)
            Restore(row.Id, row.RecordedAtMs, row.Clock, row.Payload, row.IsBlob);
        RefreshFirst();
    }

    long? Oldest(long firstId, long lastId)
    {
        using var query = _connection.PrepareOnce(
            "SELECT id FROM queue WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1");
        return query.Bind(1, firstId).Bind(2, lastId).Step() ? query.Number(0) : null;
    }

    // By the ids alone: counting would read all of them.
    long EstimateDeadRows(long acknowledged)
    {
        var waiting = _connection.QueryNumber("SELECT min(id) FROM queue WHERE id > 0") ?? long.MaxValue;
        var firstKept = _connection.QueryNumber("SELECT min(id) FROM queue WHERE id < 0");
        var lastKept = _connection.QueryNumber("SELECT max(id) FROM queue WHERE id < 0");
        return Math.Max(0, acknowledged - waiting + 1) + (lastKept - firstKept + 1 ?? 0);
    }
}
