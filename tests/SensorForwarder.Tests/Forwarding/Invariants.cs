using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>What must hold at every send of a <see cref="MonthSimulation"/>, and between them. Throws when it does not.</summary>
internal sealed class Invariants
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    // Nothing that can be sent waits longer: Retry-After's bound, the spread, and a minute where the backlog has one batch a minute.
    static readonly TimeSpan LongestPause = Circuit.RetryAfterMax + Circuit.SpreadMax + Minute;

    // The commas, heads and tails of the pieces that a batch was cut into.
    const int PieceBytes = 256;

    readonly Dictionary<DateOnly, long> _billed = [];
    readonly Dictionary<long, string> _again = [];
    long _attemptedThrough;
    TimeSpan _changedAt;
    TimeSpan _notBefore;
    bool _isAskedFor;
    TimeSpan _notAfter = TimeSpan.MaxValue;
    TimeSpan _activeAt;
    TimeSpan? _hubSentAt;
    TimeSpan _now;
    DateTimeOffset _latest;
    bool _wasStopped;
    int _failures;
    long _mayHold;

    /// <summary>Other settings: another order begins, and an attempt may come at once where they may mend what failed, if the
    /// receiver did not ask for more time.</summary>
    public void OnChange(ForwardingSettings before, ForwardingSettings after)
    {
        (_changedAt, _notAfter, _activeAt) = (_now, TimeSpan.MaxValue, _now);
        var isOtherForm = (before.BatchSize, before.BatchMaxBytes) != (after.BatchSize, after.BatchMaxBytes);
        if (before.Sink != after.Sink || (isOtherForm && !_isAskedFor)) _notBefore = TimeSpan.Zero;
    }

    public void OnRestart() => (_changedAt, _notBefore, _notAfter, _activeAt, _hubSentAt, _failures) = (_now, TimeSpan.Zero, TimeSpan.MaxValue, _now, null, 0);

    /// <summary>After each turn.</summary>
    /// <param name="now">The moment.</param>
    /// <param name="wallClock">The same by a clock that may be set.</param>
    /// <param name="settings">What is in force.</param>
    /// <param name="held">Every batch that is in memory.</param>
    /// <param name="isStopped">Somebody or something keeps the next batch from leaving, or there is none.</param>
    /// <param name="edgeHub">The way to the cloud.</param>
    public void OnTurn(TimeSpan now, DateTimeOffset wallClock, ForwardingSettings settings, IReadOnlyList<Batch> held, bool isStopped, SimulatedEdgeHub edgeHub)
    {
        _now = now;

        // Memory: what may be under way, and a batch of each lane that waits for the quota; those of other settings keep their size.
        var mayHold = (long)((settings.Sink == SinkKind.Http ? 1 : settings.MaxInFlightBatches) + 2) * settings.BatchMaxBytes;
        _mayHold = held.Count == 0 ? mayHold : Math.Max(_mayHold, mayHold);
        var bytes = held.Sum(batch => (long)batch.Body.Length);
        Check(bytes <= _mayHold + (PieceBytes * held.Count), $"{bytes} bytes in {held.Count} batches, {_mayHold} are allowed");

        // Nothing gets stuck: waiting begins at the first turn at which nothing stops it.
        if (isStopped || _wasStopped) _activeAt = now;
        if (isStopped) _notAfter = TimeSpan.MaxValue;
        _wasStopped = isStopped;

        // A time that comes again since the clock was set back has a day's messages that were used already.
        if (wallClock >= _latest) _latest = wallClock;
        else if (IsMetered(settings)) _activeAt = now;
        Check(now <= _notAfter, $"no attempt {now - _notAfter} after it was due");
        // A limit that is used up lasts a day, and then allows a chunk at a time.
        var longest = LongestPause;
        if (IsMetered(settings))
            longest += TimeSpan.FromDays(1) * (1 + (Quota.Chunks(settings.BatchMaxBytes) / (double)settings.DailyMessageLimit));
        Check(now - _activeAt <= longest, $"nothing was sent for {now - _activeAt}");
        Check(!edgeHub.IsHeldInVain, "readings are held though edgeHub gets through");
    }

    public void OnSend(SimulatedSend send, ForwardingSettings settings, IReadOnlyList<SimulatedSend> underWay, DateOnly date, SimulatedEdgeHub edgeHub)
    {
        _activeAt = send.At;
        _notAfter = TimeSpan.MaxValue;
        _now = send.At;
        var (batch, sink) = (send.Batch, send.Sink);

        // Memory: so many batches of such a size. One that was made before the settings were changed, or a part of it, keeps its own.
        var most = sink == SinkKind.Http ? 1 : settings.MaxInFlightBatches;
        Check(underWay.Count < most, $"{underWay.Count + 1} batches under way, {most} are allowed");
        Check(underWay.All(other => other.Sink == sink), "two sinks at once");
        if (batch.FirstId > _attemptedThrough && _changedAt < send.At - TimeSpan.FromDays(1))
            Check(batch.Body.Length <= settings.BatchMaxBytes || batch.Readings.Count == 1, $"{batch.Body.Length} bytes");

        _attemptedThrough = Math.Max(_attemptedThrough, batch.LastId);

        // Order: what is begun in a lane is newer than what is under way in it.
        foreach (var other in underWay)
        {
            Check(batch.FirstId > other.Batch.LastId || batch.LastId < other.Batch.FirstId, $"{batch.Id} and {other.Batch.Id} share readings");
            if (other.Batch.Lane == batch.Lane && other.At >= _changedAt)
                Check(batch.FirstId > other.Batch.LastId, $"{batch.Id} begins after {other.Batch.Id} in lane {batch.Lane}");
        }

        // A batch that comes again is the same batch.
        if (_again.TryGetValue(batch.FirstId, out var id)) Check(id == batch.Id, $"{id} comes again as {batch.Id}");

        // Back-off.
        Check(send.At >= _notBefore, $"an attempt {_notBefore - send.At} too soon");

        // An edgeHub that gets rid of nothing is given a batch a minute.
        if (sink == SinkKind.IotHub)
        {
            if (edgeHub.IsKnownToBeStuck && _hubSentAt is { } last) Check(send.At - last >= Minute, $"the next batch for a stuck edgeHub after {send.At - last}");
            _hubSentAt = send.At;
        }

        if (!IsMetered(settings)) return;
        var billed = _billed[date] = _billed.GetValueOrDefault(date) + Quota.Chunks(batch.Body.Length);
        Check(billed <= settings.DailyMessageLimit, $"{billed} messages on {date}, {settings.DailyMessageLimit} are allowed");
    }

    public void OnEnd(SimulatedSend send, TimeSpan now, ForwardingSettings settings)
    {
        _now = _activeAt = now;
        if (send.Result.Outcome == SendOutcome.Accepted) _failures = 0;
        if (send.Result.Outcome != SendOutcome.Retry)
        {
            _again.Remove(send.Batch.FirstId);
            return;
        }

        // That a later attempt finds nobody takes nothing back from one that may have arrived.
        if (!send.Result.NotSent) _again[send.Batch.FirstId] = send.Batch.Id;

        // Of several that fail together the first to be seen counts.
        var asked = send.Result.RetryAfter ?? TimeSpan.Zero;
        var least = asked < Circuit.RetryAfterMax ? asked : Circuit.RetryAfterMax;
        _notBefore = now + Backoff.Floor;
        _isAskedFor = false;

        // At most twice what the failure before allowed, and no more than the cap; a backlog has its own rate besides.
        var doubled = Circuit.BackoffBase * Math.Pow(2, Math.Min(_failures++, 30));
        var most = doubled < Circuit.BackoffMax ? doubled : Circuit.BackoffMax;
        if (send.Sink != SinkKind.Http) return;
        if (least > Backoff.Floor) _notBefore = now + least;
        _isAskedFor = asked > most; // less may be less than the back-off
        _notAfter = now + (least > most ? least : most) + TimeSpan.FromMilliseconds(1);
        if (settings.BackfillBatchesPerMinute > 0) _notAfter += Minute / settings.BackfillBatchesPerMinute;
    }

    static bool IsMetered(ForwardingSettings settings) => settings is { Sink: SinkKind.IotHub, DailyMessageLimit: > 0 };

    static void Check(bool holds, string what)
    {
        if (!holds) throw new InvalidOperationException(what);
    }
}
