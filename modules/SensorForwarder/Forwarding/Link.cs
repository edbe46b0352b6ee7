using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Time;

namespace SensorForwarder.Forwarding;

/// <summary>The sink in use, its circuit, and the counts and errors in the status. Used by the forwarder's loop only.
/// </summary>
internal sealed class Link(TelemetryBuffer buffer, TimeProvider timeProvider, Random random, ILogger logger)
{
    /// <summary>How long a stuck batch waits before it is sent again.</summary>
    public static readonly TimeSpan StuckRest = TimeSpan.FromMinutes(5);

    // A batch is stuck after this many errors over at least this time.
    const int StuckErrors = 5;
    static readonly TimeSpan StuckAfter = TimeSpan.FromMinutes(10);

    readonly Moment?[] _lastAccepted = new Moment?[3]; // by lane
    ISink? _sink;

    public Circuit Circuit { get; } = new(timeProvider, random);

    public ForwardingStatus Status { get; private set; } = new();

    public Handovers? Handovers => _sink?.Handovers;

    public bool IsUsing(ISink? sink) => sink == _sink;

    /// <summary>Switches to a sink, and returns whether it is ready. The circuit notices the end of an outage here.
    /// </summary>
    public bool IsReady(ISink sink, ForwardingSettings settings)
    {
        var where = sink.Describe(settings);
        if (sink != _sink || where != Status.Sink)
        {
            // At the start, the age of the oldest reading counts as an outage. A change of the sink does not.
            var absence = _sink is null ? timeProvider.GetUtcNow() - buffer.GetStatus().OldestRecordedAt : null;
            Circuit.Enter(absence ?? TimeSpan.Zero);
            _sink = sink;
            Status = Status with { Sink = where };
            ForwardingLog.Forwarding(logger, where);
        }

        var isReady = sink.IsReady(settings);
        Circuit.Observe(isReady, sink.IsHeld);
        if (isReady && sink.IsHeld != Status.UpstreamHeldSince is not null)
            Status = Status with { UpstreamHeldSince = sink.IsHeld ? Moment.Now(timeProvider) : null };
        return isReady;
    }

    public void Answered(Batch batch, Outcome outcome)
    {
        // Rejected readings and split batches are not failures of the connection.
        var result = outcome.Result;
        var isFailure = outcome.Again is not null;
        Status = Status with
        {
            LastError = isFailure ? outcome.Error : null,
            LastErrorAnswer = isFailure && result.IsReached ? result.Outcome : null,
        };
        if (outcome.Accepted.Count > 0) Accepted(batch, outcome.Accepted.Count);
        if (outcome.IsSplit) ForwardingLog.Split(logger, batch.Id, Status.Sink, result.Reason);
        if (result.Outcome == SendOutcome.Accepted) return;
        var failure = new SendFailure(result.Reason, Moment.Now(timeProvider));
        Status = Status with { LastFailure = failure, Failures = Status.Failures + 1 };
    }

    /// <summary>Logs a batch that the receiver keeps answering with an error. The batch is kept; with two lanes it is
    /// retried less often, so that it does not delay new readings.</summary>
    /// <returns>The batch with its new state.</returns>
    public Batch MarkStuck(Batch batch, string answer, bool hasTwoLanes)
    {
        if (batch.Errors == 0) return batch;
        var now = Moment.Now(timeProvider);
        batch = batch with { FailingSince = batch.FailingSince ?? now };
        var since = batch.FailingSince.Value;
        var took = since.Age(timeProvider);
        if (batch.Errors < StuckErrors || took < StuckAfter) return batch;
        if (Status.Stuck?.Batch != batch.Id)
            ForwardingLog.Stuck(logger, Status.Sink, batch.Id, took.TotalMinutes, batch.Errors, answer);
        Status = Status with { Stuck = new(batch.Id, answer, since, batch.Errors) };
        if (hasTwoLanes) return batch with { Lane = Lane.Backfill, RestingSince = now };
        return batch.Lane == Lane.Alarm ? batch with { Lane = Lane.Live } : batch; // does not delay other alarms
    }

    /// <summary>Whether a stuck batch must wait before it is tried again.</summary>
    public bool IsResting(Batch batch) => batch.RestingSince?.Age(timeProvider) < StuckRest;

    public void BackOff(SendResult failure, Batch batch)
    {
        var delay = Circuit.Failed(failure);
        if (failure.Outcome == SendOutcome.Retry)
            ForwardingLog.SendFailed(logger, Status.Sink, batch.Id, failure.Reason, delay.TotalSeconds);
        else
            ForwardingLog.Denied(logger, Status.Sink, batch.Id, failure.Reason, delay.TotalSeconds);
    }

    /// <summary>Updates lanes and daily quota in the status.</summary>
    public void Describe(Situation now, Plan plan, IReadOnlyCollection<Batch> inFlight, Quota quota)
    {
        var held = plan.Holds.Where(hold => hold.Until is not null).ToList();
        var limit = _sink is null ? 0 : Quota.LimitOf(_sink, now.Settings);
        Status = Status with
        {
            DailyMessageLimit = limit,
            MessagesToday = limit == 0 ? 0 : quota.Used,
            HeldBackUntil = held.Max(hold => hold.Until),
            IsOnlyBacklogHeldBack = held.Count > 0 && held.All(hold => hold.IsBacklog),
            Live = DescribeLane(Lane.Live),
            Backfill = DescribeLane(Lane.Backfill),
            Alarm = DescribeLane(Lane.Alarm),
        };

        LaneStatus DescribeLane(Lane lane)
        {
            var (fresh, again) = (now.FreshIn(lane), now.AgainIn(lane).ToList());
            var batches = inFlight.Where(batch => batch.Lane == lane).ToList();
            return new()
            {
                Waiting = fresh.Count + again.Sum(batch => batch.Readings.Count),
                WaitingAfter = Math.Min(
                    fresh.IsEmpty ? long.MaxValue : fresh.First,
                    again.Count == 0 ? long.MaxValue : again.Min(batch => batch.FirstId)) - 1,
                InFlightBatches = batches.Count,
                InFlightReadings = batches.Sum(batch => batch.Readings.Count),
                LastAccepted = _lastAccepted[(int)lane],
            };
        }
    }

    /// <summary>The status at the end of a turn.</summary>
    public ForwardingStatus EndTurn() => Status = Status with { Custody = Handovers?.Describe() ?? new() };

    void Accepted(Batch batch, int readings)
    {
        if (Circuit.Failures > 0) ForwardingLog.Recovered(logger, Status.Sink, Circuit.Failures);
        Circuit.Succeeded();
        _lastAccepted[(int)batch.Lane] = Moment.Now(timeProvider);
        Status = Status with
        {
            Stuck = Status.Stuck?.Batch == batch.Id ? null : Status.Stuck,
            LastSuccess = _lastAccepted[(int)batch.Lane],
            Batches = Status.Batches + 1,
            BackfillBatches = Status.BackfillBatches + (batch.Lane == Lane.Backfill ? 1 : 0),
            AlarmBatches = Status.AlarmBatches + (batch.Lane == Lane.Alarm ? 1 : 0),
            Readings = Status.Readings + readings,
            Bytes = Status.Bytes + batch.Body.Length,
        };
    }
}
