using SensorForwarder.Forwarding;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>What must hold at every send of a <see cref="MonthSimulation"/>. Throws when it does not.</summary>
internal sealed class Invariants
{
    readonly Dictionary<DateOnly, long> _billed = [];
    readonly Dictionary<long, string> _again = [];
    long _attemptedThrough;
    TimeSpan _changedAt;
    TimeSpan _notBefore;
    TimeSpan _now;

    /// <summary>Other settings: an attempt may come at once, and another order begins.</summary>
    public void OnChange() => (_changedAt, _notBefore) = (_now, TimeSpan.Zero);

    public void OnRestart() => OnChange();

    public void OnSend(SimulatedSend send, ForwardingSettings settings, IReadOnlyList<SimulatedSend> underWay, DateOnly date)
    {
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
        if (_again.Remove(batch.FirstId, out var id)) Check(id == batch.Id, $"{id} comes again as {batch.Id}");

        // Back-off.
        Check(send.At >= _notBefore, $"an attempt {_notBefore - send.At} too soon");

        if (sink != SinkKind.IotHub || settings.DailyMessageLimit == 0) return;
        var billed = _billed[date] = _billed.GetValueOrDefault(date) + Quota.Chunks(batch.Body.Length);
        Check(billed <= settings.DailyMessageLimit, $"{billed} messages on {date}, {settings.DailyMessageLimit} are allowed");
    }

    public void OnEnd(SimulatedSend send, TimeSpan now)
    {
        _now = now;
        if (send.Result.Outcome != SendOutcome.Retry) return;
        if (!send.Result.NotSent) _again[send.Batch.FirstId] = send.Batch.Id;

        // Of several that fail together the first to be seen counts.
        var asked = send.Result.RetryAfter ?? TimeSpan.Zero;
        var least = asked < Circuit.RetryAfterMax ? asked : Circuit.RetryAfterMax;
        _notBefore = now + Backoff.Floor;
        if (send.Sink == SinkKind.Http && least > Backoff.Floor) _notBefore = now + least;
    }

    static void Check(bool holds, string what)
    {
        if (!holds) throw new InvalidOperationException(what);
    }
}
