namespace SensorForwarder.Forwarding;

/// <summary>Takes batches out of the lanes as far as the day's quota allows; where nothing is metered, just takes them.
/// Used by the forwarder's loop only.</summary>
internal sealed class MeteredLanes(Quota quota)
{
    public Quota Quota => quota;

    /// <summary>Until when something waits for the quota; null: nothing does.</summary>
    public DateTimeOffset? HeldBackUntil { get; private set; }

    /// <summary>Whether only what is behind waits for it.</summary>
    public bool IsOnlyBacklogHeldBack { get; private set; }

    /// <summary>Forgets what waited: the lanes are asked again.</summary>
    public void BeginTurn() => (HeldBackUntil, IsOnlyBacklogHeldBack) = (null, true);

    /// <summary>Why a batch will never go; null when it may.</summary>
    public static string? Objection(Batch batch, ISink sink, ForwardingSettings settings) =>
        LimitOf(sink, settings) is var limit and > 0 && Quota.Chunks(batch.Body.Length) is var chunks && chunks > limit
            ? $"it is billed as {chunks} messages, and dailyMessageLimit is {limit}: raise it"
            : null;

    /// <summary>The next batch of a lane, or null and, in <paramref name="wait"/>, how long until there may be one if
    /// that is sooner.</summary>
    public Batch? Next(Lanes lanes, Lane lane, ISink sink, Closing closing, bool isFlushing, ref TimeSpan? wait)
    {
        var limit = LimitOf(sink, closing.Settings);
        if (limit == 0)
        {
            var unlimited = Take(lanes, lane, closing, ref wait);
            if (unlimited is not null && sink.IsMetered) quota.Count(Quota.Chunks(unlimited.Body.Length));
            return unlimited;
        }

        if (lane == Lane.Live ? !lanes.HasWaiting && !lanes.HasBacklog : !lanes.HasBacklog) return null;

        var isBehind = lane == Lane.Backfill
            || (closing.Settings.DrainOrder == DrainOrder.OldestFirst && lanes.IsBehind(closing.Settings));
        var share = isFlushing ? QuotaShare.Everything : isBehind ? QuotaShare.Backlog : QuotaShare.Live;
        var allowance = quota.Allowance(limit, share);
        if (allowance < 1)
        {
            HoldBack(limit, share, 1, ref wait);
            return null;
        }

        var most = (int)Math.Min(closing.MaxBytes, (allowance * Quota.ChunkBytes) - Quota.PropertyBytes);
        if (Take(lanes, lane, closing with
        {
            MaxBytes =
            most,
            IsPacked = true
        }, ref wait) is not { } batch) return null;
        var chunks = Quota.Chunks(batch.Body.Length);
        if (chunks > limit) return batch; // it will never go, and comes back with an objection
        if (chunks > allowance)
            HoldBack(limit, share, chunks, ref wait);
        else if (quota.TryTake(limit, chunks, out var reserving))
            return batch;
        else
            wait = Min(wait, reserving);
        lanes.GiveBack([batch]);
        return null;
    }

    /// <summary>Writes the count and the wait into a status.</summary>
    public ForwardingStatus Describe(ForwardingStatus status, ISink sink, ForwardingSettings settings)
    {
        var limit = LimitOf(sink, settings);
        return limit == 0 && status.DailyMessageLimit == 0 ? status : status with
        {
            DailyMessageLimit = limit,
            MessagesToday = limit == 0 ? 0 : quota.Used,
            HeldBackUntil = HeldBackUntil,
            IsOnlyBacklogHeldBack = HeldBackUntil is not null && IsOnlyBacklogHeldBack,
        };
    }

    static int LimitOf(ISink sink, ForwardingSettings settings) => sink.IsMetered ? settings.DailyMessageLimit : 0;

    static Batch? Take(Lanes lanes, Lane lane, in Closing closing, ref TimeSpan? wait)
    {
        var batch = lanes.Next(lane, closing, out var due);
        wait = Min(wait, due);
        return batch;
    }

    void HoldBack(int limit, QuotaShare share, int chunks, ref TimeSpan? wait)
    {
        var until = quota.Until(limit, share, chunks);
        if (HeldBackUntil is null || until > HeldBackUntil) HeldBackUntil = until;
        IsOnlyBacklogHeldBack &= share == QuotaShare.Backlog;
        wait = Min(wait, quota.WaitFor(until));
    }

    static TimeSpan? Min(TimeSpan? a, TimeSpan? b) => a is null || b < a ? b ?? a : a;
}
