namespace SensorForwarder.Buffer;

/// <summary>The part of the writer that keeps delivered rows for their time.</summary>
internal sealed partial class BufferWriter
{
    long _retainedCheckedAt;

    bool IsRetaining => _limits.RetainForwarded > TimeSpan.Zero;

    // What is kept for its time goes bit by bit where it has to.
    bool ReclaimForRoom(QueueStore store) => IsRetaining ? ReclaimPiece(store) : store.ReclaimAll();

    bool ReclaimPiece(QueueStore store) => store.Reclaim(PieceRows(), static (_, _) => true);

    // Their pages are written once more when they are deleted or moved, and have to fit into the log.
    int PieceRows() => (int)Math.Max(1, StorageBudget.Of(_limits).TransactionBytes / RowBytes());

    // What those that overtook others may take where they are kept: pages that they fill in part.
    long KeptBytes(List<Acknowledgement> acknowledgements)
    {
        if (!IsRetaining)
            return 0;
        var first = _store!.Marks.FirstId;
        return acknowledgements.Where(a => a.FirstId > first).Sum(a => _store.Count(a.FirstId, a.LastId)) * RowBytes();
    }

    // What moves more than one transaction may write is moved ahead of the one that it came with.
    void KeepInPieces(StorageBudget budget, List<Acknowledgement> acknowledgements)
    {
        var first = _store!.Marks.FirstId;
        var rows = PieceRows();
        foreach (var range in acknowledgements.Where(a => a.FirstId > first))
        {
            for (var id = range.FirstId; id <= Math.Min(range.LastId, _store.Marks.LastId); id += rows)
            {
                var piece = new Acknowledgement(id, Math.Min(range.LastId, id + rows - 1));
                Transact(store => Acknowledge(store, [piece], keeps: true));
                _upkeep.AfterCommit(_store, budget);
            }
        }
    }

    // On average, with its share of the pages.
    long RowBytes()
    {
        var (marks, (pages, free)) = (_store!.Marks, _store.CountPages());
        return Math.Max(AssumedRowBytes, (pages - free) * BufferSchema.PageBytes
            / Math.Max(1, marks.Depth + marks.DeadRows));
    }

    // In pieces of an eighth of their time: the fewer times rows are deleted, the fewer pages are written for it.
    void ReclaimRetained()
    {
        if (!IsRetaining || _timeProvider.GetElapsedTime(_retainedCheckedAt) < AgeCheckInterval)
            return;
        _retainedCheckedAt = _timeProvider.GetTimestamp();
        var (time, atLeast) = (_limits.RetainForwarded, _limits.RetainForwarded / 8 * 9);
        while (Transact(store => store.Reclaim(PieceRows(), IsOver)))
            _upkeep.AfterCommit(_store!, StorageBudget.Of(_limits));

        bool IsOver(long recordedAtMs, int segment)
        {
            var isOver = _clock.Age(recordedAtMs, segment) > atLeast;
            if (isOver)
                atLeast = time;
            return isOver;
        }
    }
}
