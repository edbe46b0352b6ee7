using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>Takes the batch of a <see cref="Plan"/> from the waiting readings, within the daily quota. Used by the
/// forwarder's loop only.</summary>
internal sealed class BatchSource(WaitingReadings waiting, BatchCutter cutter, Quota quota, Random random)
{
    /// <summary>Takes the batch of the plan if the daily quota allows it.</summary>
    /// <returns>Null: the lane was added to <paramref name="holds"/>, or the readings no longer wait.</returns>
    public Batch? Take(Plan plan, Closing closing, ISink sink, bool isFlushing, Dictionary<Lane, Hold> holds)
    {
        var (lane, settings) = (plan.Lane!.Value, closing.Settings);
        var isBehind = lane == Lane.Backfill
            || (lane == Lane.Live && settings.DrainOrder == DrainOrder.OldestFirst && waiting.IsBehind(settings));
        var share = isFlushing || lane == Lane.Alarm ? QuotaShare.Everything
            : isBehind ? QuotaShare.Backlog : QuotaShare.Live;
        var limit = Quota.LimitOf(sink, settings);
        var allowance = limit == 0 ? long.MaxValue : quota.Allowance(limit, share);
        if (allowance < 1)
        {
            holds[lane] = quota.Hold(limit, share, 1);
            return null;
        }

        if (limit > 0) closing = closing with
        {
            MaxBytes = (int)Math.Min(
                closing.MaxBytes, (allowance * Quota.ChunkBytes) - Quota.PropertyBytes - settings.Tags.Bytes),
            IsPacked = true,
        };
        if ((plan.Again ?? Cut(plan, closing, holds)) is not { } batch) return null;
        var chunks = Quota.Chunks(batch, settings);
        if (limit == 0 && sink.IsMetered) quota.Count(chunks);
        TimeSpan? reserving = null;

        // A batch above the limit is allowed here: the forwarder reports Quota.Objection instead of sending it.
        var isAllowed = limit == 0 || chunks > limit
            || (chunks <= allowance && quota.TryTake(limit, chunks, out reserving));
        if (plan.Again is not null && isAllowed) waiting.Take(batch);
        if (plan.Again is null && !isAllowed) waiting.GiveBack(batch);
        if (isAllowed) return batch;
        holds[lane] = chunks > allowance ? quota.Hold(limit, share, chunks) : new(reserving);
        return null;
    }

    Batch? Cut(Plan plan, Closing closing, Dictionary<Lane, Hold> holds)
    {
        var (lane, ids) = (plan.Lane!.Value, plan.Ids);
        if (plan.IsSample)
            (ids, closing) = (ids.Except(ids.Take(random.NextInt64(ids.Count))), closing with { Most = 1 });
        var isReplay = waiting.Replayed.Contains(ids.First);
        ids = isReplay ? ids.Intersect(waiting.Replayed) : ids.Except(waiting.Replayed);
        if (waiting.Returned(ids, lane) is { } again)
        {
            waiting.Take(again.Range);
            return again;
        }

        var within = waiting.BeforeReturned(ids);
        var cut = cutter.Next(within, lane, plan.CanGrow && within.Last == ids.Last, closing);
        waiting.Take(cut.Taken);
        if (cut.Due is { } due) holds[lane] = new(due);
        return cut.Batch is { } batch ? batch with { IsSample = plan.IsSample, IsReplay = isReplay } : null;
    }
}
