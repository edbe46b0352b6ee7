using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>Why a lane that has readings may not send now.</summary>
/// <param name="Wait">Time until the hold may end; null: only an event ends it.</param>
/// <param name="Until">When the daily quota ends the hold; null: the hold has another reason.</param>
/// <param name="IsBacklog">Whether the quota holds only the backlog, not new readings.</param>
internal readonly record struct Hold(TimeSpan? Wait, DateTimeOffset? Until = null, bool IsBacklog = false);

/// <summary>The input of <see cref="Plan.Next"/>: the state of forwarding at one point in time. Immutable.</summary>
internal sealed record Situation
{
    public required ForwardingSettings Settings { get; init; }

    /// <summary>Waiting readings that are in no batch.</summary>
    public IdSet Fresh { get; init; } = IdSet.Empty;

    /// <summary>The highest committed id.</summary>
    public long LastId { get; init; }

    /// <summary>With <see cref="DrainOrder.LiveFirst"/>, readings above this id are live, the others backlog.</summary>
    public long LiveAfter { get; init; }

    /// <summary>Those of <see cref="Fresh"/> that are alarms.</summary>
    public IdSet Urgent { get; init; } = IdSet.Empty;

    /// <summary>Delivered readings to replay on request; part of the backlog.</summary>
    public IdSet Replayed { get; init; } = IdSet.Empty;

    /// <summary>Batches to send again, in the order of ids.</summary>
    public IReadOnlyCollection<Batch> Again { get; init; } = [];

    /// <summary>The lanes of the batches in flight.</summary>
    public IReadOnlyList<Lane> InFlight { get; init; } = [];

    /// <summary>Batches that may be in flight at once; 0: the sink is not ready, or the batches in flight must complete
    /// first after a failure.</summary>
    public int Window { get; init; } = 1;

    /// <summary>The lane of the last batch sent, alarms excluded.</summary>
    public Lane LastLane { get; init; }

    /// <summary>Time until the back-off ends; zero or less: it has ended.</summary>
    public TimeSpan UntilAttempt { get; init; }

    /// <summary>See <see cref="Circuit.IsProbing"/>: one small batch at a time.</summary>
    public bool IsProbing { get; init; }

    /// <summary>Whether to send a random waiting reading, because the receiver refused several readings in a row.
    /// </summary>
    public bool WantsSample { get; init; }

    /// <inheritdoc cref="Handovers.IsHolding"/>
    public bool IsHeld { get; init; }

    public TimeSpan SinceLastSend { get; init; }

    public bool IsFlushing { get; init; }

    /// <summary>Time until <see cref="BackfillRate"/> allows a batch; zero or less: now.</summary>
    public TimeSpan UntilBackfill { get; init; }

    /// <summary>Lanes that may not send now although they have readings.</summary>
    public IReadOnlyDictionary<Lane, Hold> Holds { get; init; } = new Dictionary<Lane, Hold>();

    public bool IsOneLane => Settings.DrainOrder == DrainOrder.OldestFirst;

    /// <summary>Readings of a lane that are in no batch. With <see cref="DrainOrder.OldestFirst"/>, all except alarms
    /// and replayed readings are in the live lane.</summary>
    public IdSet FreshIn(Lane lane)
    {
        if (lane == Lane.Alarm) return Urgent;
        var others = Urgent.IsEmpty ? Fresh : Fresh.Except(Urgent);
        var backlog = IsOneLane ? Replayed : Replayed.Union(IdSet.Of(0, LiveAfter));
        return lane == Lane.Live ? others.Except(backlog) : others.Intersect(backlog);
    }

    public IEnumerable<Batch> AgainIn(Lane lane) =>
        Again.Where(batch => (IsOneLane && batch.Lane != Lane.Alarm ? Lane.Live : batch.Lane) == lane);

    public bool Has(Lane lane) => AgainIn(lane).Any() || !FreshIn(lane).IsEmpty;
}

/// <summary>The forwarder's next action: send a batch again, cut a new one, or wait. <see cref="Next"/> is a pure
/// function.</summary>
internal sealed record Plan
{
    static readonly TimeSpan HeldSendInterval = TimeSpan.FromMinutes(1);
    static readonly TimeSpan HeldCheckInterval = TimeSpan.FromSeconds(5);

    /// <summary>The lane of the next batch; null: send nothing now.</summary>
    public Lane? Lane { get; init; }

    /// <summary>The batch to send again; null: cut a new one from <see cref="Ids"/>.</summary>
    public Batch? Again { get; init; }

    /// <summary>The readings to cut a new batch from.</summary>
    public IdSet Ids { get; init; } = IdSet.Empty;

    /// <summary>Whether the batch is one random reading of <see cref="Ids"/>, not the oldest ones.</summary>
    public bool IsSample { get; init; }

    /// <summary>Whether new readings can still join the batch: then it waits until it is full or old enough.</summary>
    public bool CanGrow { get; init; }

    /// <summary>Time until a batch may be sent; null: only an event changes that.</summary>
    public TimeSpan? Wait { get; init; }

    /// <summary>The holds of the lanes that have readings.</summary>
    public IReadOnlyList<Hold> Holds { get; init; } = [];

    public static Plan Next(Situation now)
    {
        if (now.Window == 0) return new();
        if (now.UntilAttempt > TimeSpan.Zero) return new() { Wait = now.UntilAttempt };

        // While edgeHub has no cloud, one batch a minute is still sent: edgeHub reconnects more often when it has
        // messages to send, and a misread page must not stop forwarding.
        if (now.IsHeld && !now.IsFlushing && (now.InFlight.Count > 0 || now.SinceLastSend < HeldSendInterval))
            return new() { Wait = HeldCheckInterval };
        var size = now.IsProbing || now.IsHeld ? 1 : now.Window;
        if (now.InFlight.Count >= size) return new();
        var holds = new List<Hold>();
        foreach (var lane in Lanes(now, size))
        {
            if (!now.Has(lane)) continue;
            if (HoldOf(lane, now) is not { } hold) return From(lane, now);
            holds.Add(hold);
        }

        return new() { Wait = holds.Min(hold => hold.Wait), Holds = holds };
    }

    // The lanes that may send, in order of preference. Alarms are first, except while random readings are sent because
    // the receiver refused several in a row.
    static IEnumerable<Lane> Lanes(Situation now, int size) => now.WantsSample
        ? [.. OtherLanes(now, size), Forwarding.Lane.Alarm]
        : [Forwarding.Lane.Alarm, .. OtherLanes(now, size)];

    // If several batches may be in flight, the last place is reserved for live batches and alarms. When live batches
    // alone fill a slow connection, every second batch is backfill.
    static Lane[] OtherLanes(Situation now, int size)
    {
        var isBacklogsTurn = now.LastLane == Forwarding.Lane.Live && now.Has(Forwarding.Lane.Backfill)
            && now.InFlight.All(lane => lane != Forwarding.Lane.Backfill);
        if (isBacklogsTurn) return [Forwarding.Lane.Backfill, Forwarding.Lane.Live];
        return size == 1 || now.InFlight.Count < size - 1
            ? [Forwarding.Lane.Live, Forwarding.Lane.Backfill]
            : [Forwarding.Lane.Live];
    }

    static Hold? HoldOf(Lane lane, Situation now) =>
        lane == Forwarding.Lane.Backfill && !now.IsFlushing && now.UntilBackfill > TimeSpan.Zero
            ? new(now.UntilBackfill)
            : now.Holds.TryGetValue(lane, out var hold) ? hold : null;

    // Batches to send again precede new ones of their lane; with one lane, the order is that of the ids.
    static Plan From(Lane lane, Situation now)
    {
        var ids = now.FreshIn(lane);
        if (now.WantsSample && !ids.IsEmpty && (now.IsOneLane || lane == Forwarding.Lane.Backfill))
            return new() { Lane = lane, Ids = ids, IsSample = true };
        if (now.AgainIn(lane).FirstOrDefault() is { } again)
        {
            if (!now.IsOneLane || ids.IsEmpty || ids.First > again.FirstId) return new() { Lane = lane, Again = again };
            return new() { Lane = lane, Ids = ids.Intersect(IdSet.Of(0, again.FirstId)) };
        }

        return new()
        {
            Lane = lane,
            Ids = ids,
            CanGrow = lane == Forwarding.Lane.Live && ids.FirstMissingFrom(ids.First) > now.LastId,
        };
    }
}
