using SensorForwarder.Forwarding;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>Conditions that must hold at every send of a <see cref="MonthSimulation"/> and between them. Throws when
/// one does not.</summary>
internal sealed class Invariants
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    // The longest time without a send while something can be sent: the bound of Retry-After, the spread, and a minute
    // of the backfill rate.
    static readonly TimeSpan LongestPause = Circuit.RetryAfterMax + Circuit.SpreadMax + Minute;

    // The additional commas, heads and tails when a batch was split.
    const int PieceBytes = 256;

    readonly Dictionary<DateOnly, long> _billed = [];
    readonly Dictionary<long, string> _again = [];
    long _attemptedThrough;
    TimeSpan _changedAt;
    long _returnedThrough;
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

    /// <summary>The settings changed: the order may change, and a setting that may have removed the cause of a failure
    /// allows an immediate attempt, unless the receiver sent a Retry-After.</summary>
    public void OnChange(ForwardingSettings before, ForwardingSettings after)
    {
        (_changedAt, _notAfter, _activeAt) = (_now, TimeSpan.MaxValue, _now);
        var isOtherForm = (before.BatchSize, before.BatchMaxBytes) != (after.BatchSize, after.BatchMaxBytes);
        if (before.Sink != after.Sink || (isOtherForm && !_isAskedFor)) _notBefore = TimeSpan.Zero;
    }

    /// <summary>Readings that were sent before wait again.</summary>
    public void OnReturn(TimeSpan now) => (_changedAt, _returnedThrough) = (now, _attemptedThrough);

    public void OnRestart() => (_changedAt, _notBefore, _notAfter, _activeAt, _hubSentAt, _failures) = (_now, TimeSpan.Zero, TimeSpan.MaxValue, _now, null, 0);

    /// <summary>Checks the state after a turn of the loop.</summary>
    /// <param name="now">Monotonic time.</param>
    /// <param name="wallClock">Wall-clock time, which may step.</param>
    /// <param name="settings">The settings in force.</param>
    /// <param name="held">All batches in memory.</param>
    /// <param name="isStopped">Whether no send is expected.</param>
    /// <param name="edgeHub">The simulated edgeHub.</param>
    public void OnTurn(TimeSpan now, DateTimeOffset wallClock, ForwardingSettings settings, IReadOnlyList<Batch> held, bool isStopped, SimulatedEdgeHub edgeHub)
    {
        _now = now;

        // Memory: the batches that may be in flight, and one of each lane that waits for the quota. Batches cut with
        // other settings keep their size.
        var mayHold = (long)((settings.Sink == SinkKind.Http ? 1 : settings.MaxInFlightBatches) + 2) * settings.BatchMaxBytes;
        _mayHold = held.Count == 0 ? mayHold : Math.Max(_mayHold, mayHold);
        var bytes = held.Sum(batch => (long)batch.Body.Length);
        Check(bytes <= _mayHold + (PieceBytes * held.Count), $"{bytes} bytes in {held.Count} batches, {_mayHold} are allowed");

        // Nothing gets stuck: time counts from the first turn at which a send is expected.
        if (isStopped || _wasStopped) _activeAt = now;
        if (isStopped) _notAfter = TimeSpan.MaxValue;
        _wasStopped = isStopped;

        // After the clock was set back, the day's messages may already be used up.
        if (wallClock >= _latest) _latest = wallClock;
        else if (IsMetered(settings)) _activeAt = now;
        Check(now <= _notAfter, $"no attempt {now - _notAfter} after it was due");
        // A daily limit that is used up stops sending for a day, and then allows one chunk at a time.
        var longest = LongestPause;
        if (IsMetered(settings))
            longest += TimeSpan.FromDays(1) * (1 + (Quota.Chunks(settings.BatchMaxBytes) / (double)settings.DailyMessageLimit));
        Check(now - _activeAt <= longest, $"nothing was sent for {now - _activeAt}");

        // The page is read only while batches are sent to edgeHub.
        if (settings.Sink == SinkKind.IotHub) Check(!edgeHub.IsHeldInVain, "readings are held though edgeHub gets through");
    }

    public void OnSend(SimulatedSend send, ForwardingSettings settings, IReadOnlyList<SimulatedSend> underWay, DateOnly date, SimulatedEdgeHub edgeHub)
    {
        _activeAt = send.At;
        _notAfter = TimeSpan.MaxValue;
        _now = send.At;
        var (batch, sink) = (send.Batch, send.Sink);

        // Memory: the number and size of batches in flight. A batch made before the settings changed, or a part of it,
        // keeps its size.
        var most = sink == SinkKind.Http ? 1 : settings.MaxInFlightBatches;
        Check(underWay.Count < most, $"{underWay.Count + 1} batches under way, {most} are allowed");
        Check(underWay.All(other => other.Sink == sink), "two sinks at once");
        if (batch.FirstId > _attemptedThrough && _changedAt < send.At - TimeSpan.FromDays(1))
            Check(batch.Body.Length <= settings.BatchMaxBytes || batch.Readings.Count == 1, $"{batch.Body.Length} bytes");

        _attemptedThrough = Math.Max(_attemptedThrough, batch.LastId);

        // Order: a batch of a lane is newer than those in flight in the lane, unless it has returned.
        foreach (var other in underWay)
        {
            Check(batch.FirstId > other.Batch.LastId || batch.LastId < other.Batch.FirstId, $"{batch.Id} and {other.Batch.Id} share readings");
            if (other.Batch.Lane == batch.Lane && other.At > _changedAt && batch.FirstId > _returnedThrough)
                Check(batch.FirstId > other.Batch.LastId, $"{batch.Id} begins after {other.Batch.Id} in lane {batch.Lane}");
        }

        // A batch that is sent again has the same boundaries.
        if (_again.TryGetValue(batch.FirstId, out var id)) Check(id == batch.Id, $"{id} comes again as {batch.Id}");

        // Back-off.
        Check(send.At >= _notBefore, $"an attempt {_notBefore - send.At} too soon");

        // An edgeHub without a cloud gets one batch a minute.
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

        // A batch that may have arrived stays so when a later attempt does not reach the receiver.
        if (!send.Result.NotSent) _again[send.Batch.FirstId] = send.Batch.Id;

        // Of several sends that fail together, the first one that is handled counts.
        var asked = send.Result.RetryAfter ?? TimeSpan.Zero;
        var least = asked < Circuit.RetryAfterMax ? asked : Circuit.RetryAfterMax;
        _notBefore = now + Backoff.Floor;
        _isAskedFor = false;

        // At most twice the back-off of the failure before, and at most the bound. The backlog also has its own rate.
        var doubled = Circuit.BackoffBase * Math.Pow(2, Math.Min(_failures++, 30));
        var most = doubled < Circuit.BackoffMax ? doubled : Circuit.BackoffMax;
        if (send.Sink != SinkKind.Http) return;
        if (least > Backoff.Floor) _notBefore = now + least;
        _isAskedFor = asked > most; // a shorter Retry-After may be below the back-off
        _notAfter = now + (least > most ? least : most) + TimeSpan.FromMilliseconds(1);
        if (settings.BackfillBatchesPerMinute > 0) _notAfter += Minute / settings.BackfillBatchesPerMinute;
    }

    static bool IsMetered(ForwardingSettings settings) => settings is { Sink: SinkKind.IotHub, DailyMessageLimit: > 0 };

    static void Check(bool holds, string what)
    {
        if (!holds) throw new InvalidOperationException(what);
    }
}
