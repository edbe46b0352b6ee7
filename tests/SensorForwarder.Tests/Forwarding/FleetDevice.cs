using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Readings;

namespace SensorForwarder.Tests.Forwarding;

/// <summary>A device of a <see cref="FleetSimulation"/>. Mirrors <see cref="Forwarder"/> and WaitingReadings, with a
/// set of ids instead of the buffer, and without quota, flush, dead letters and changes of settings.</summary>
internal sealed class FleetDevice
{
    // As in WaitingReadings.
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    readonly FleetSimulation _fleet;
    readonly FleetSink _sink;
    readonly ForwardingSettings _settings;
    readonly Circuit _circuit;
    readonly BackfillRate _backfillRate;
    readonly SortedDictionary<long, Batch> _again = [];
    readonly List<(Batch Batch, Task<SendResult> Sending)> _window = [];
    IdSet _taken = IdSet.Empty;
    long _liveAfter;
    Lane _lastLane;
    long _lastSent;
    bool _isEnding;
    (SendResult Result, Batch Batch)? _failure;
    int _turn;

    public FleetDevice(FleetSimulation fleet, FleetSink sink, Random random, DrainOrder order, TimeSpan firstReading)
    {
        (_fleet, _sink, FirstReading) = (fleet, sink, firstReading);
        _settings = new()
        {
            BatchSize = 200,
            UploadInterval = TimeSpan.FromMinutes(1),
            DrainOrder = order,
        };
        _circuit = new(fleet, random);
        _backfillRate = new(fleet);
        sink.Device = this;
    }

    public TimeSpan FirstReading { get; }

    public DrainOrder Order => _settings.DrainOrder;

    /// <summary>The ids that the receiver has.</summary>
    public IdSet Arrived { get; private set; } = IdSet.Empty;

    /// <summary>Ids that were not at the receiver when the outage ended.</summary>
    public IdSet Backlog { get; private set; } = IdSet.Empty;

    /// <summary>When the whole backlog had arrived.</summary>
    public TimeSpan? DrainedAt { get; private set; }

    long LastId => FleetSimulation.LastIdAt(this, _fleet.Now);

    IdSet Fresh => IdSet.Of(1, LastId).Except(_taken);

    TimeSpan LongestLag => (2 * _settings.UploadInterval) + Patience;

    public void Start()
    {
        _circuit.Enter(TimeSpan.Zero);
        _sink.Start();
        Turn();
    }

    public void NoteBacklog() => Backlog = IdSet.Of(1, LastId).Except(Arrived);

    /// <summary>A batch arrives at the receiver.</summary>
    public void Arrive(Batch batch)
    {
        var ids = IdSet.Of(batch.FirstId, batch.LastId);
        var before = Arrived.Count;
        Arrived = Arrived.Union(ids);
        _fleet.Figures.Arrive(this, batch, Arrived.Count - before, _fleet.Now);
        if (DrainedAt is null && !Backlog.IsEmpty && Backlog.Except(Arrived).IsEmpty) DrainedAt = _fleet.Now;
    }

    /// <summary>One turn of the forwarder's loop; schedules the next.</summary>
    public void Turn()
    {
        var turn = ++_turn;
        ReapEnded();
        if (_window.Count == 0 && _isEnding) EndFailure();
        Look();
        var wait = Fill();

        // If there is no other reason to wait, the next reading may begin a batch.
        var nextReading = FirstReading + (LastId * FleetSimulation.ReadingEvery) - _fleet.Now;
        if (wait is null && (!_sink.IsReady(_settings) || nextReading <= TimeSpan.Zero)) return;
        _fleet.After(wait ?? nextReading, () =>
        {
            if (turn == _turn) Turn();
        });
    }

    void ReapEnded()
    {
        foreach (var flight in _window.FindAll(flight => flight.Sending.IsCompleted))
        {
            _window.Remove(flight);
            Settle(flight.Batch, flight.Sending.Result);
        }
    }

    void Settle(Batch batch, SendResult answer)
    {
        var outcome = Outcome.Apply(batch, answer, Outcome.RejectedInARowMax);
        if (outcome.Accepted.Count > 0) _circuit.Succeeded();
        if (outcome.Again is not { } again) return;
        _again.Add(again.FirstId, again);
        _failure ??= (outcome.Result, again);
        _isEnding = true;
    }

    void EndFailure()
    {
        _isEnding = false;
        if (_failure is { } failure) BackOff(failure.Result, failure.Batch);
        _failure = null;
    }

    void BackOff(SendResult failure, Batch batch)
    {
        _circuit.Failed(failure);
        if (batch.MayHaveArrived || batch.Readings.Count <= Circuit.ProbeReadings) return;
        _again.Remove(batch.FirstId);
        var cut = batch.FirstId + Circuit.ProbeReadings;
        _again.Add(batch.FirstId, Encode(batch.FirstId, cut - 1, batch.Lane));
        _again.Add(cut, Encode(cut, batch.LastId, batch.Lane));
    }

    // Readings have a fixed interval, so an id tells when it was committed.
    void Look()
    {
        if (_settings.DrainOrder == DrainOrder.OldestFirst) return;
        var live = Fresh.Except(IdSet.Of(0, _liveAfter));
        if (!live.IsEmpty && live.First <= FleetSimulation.LastIdAt(this, _fleet.Now - LongestLag))
            _liveAfter = FleetSimulation.LastIdAt(this, _fleet.Now - (LongestLag / 2));
    }

    TimeSpan? Fill()
    {
        var isReady = _sink.IsReady(_settings);
        _circuit.Observe(isReady, _sink.IsHeld);
        var holds = new Dictionary<Lane, Hold>();
        while (true)
        {
            var plan = Plan.Next(new()
            {
                Settings = _settings,
                Fresh = Fresh,
                LastId = LastId,
                LiveAfter = _liveAfter,
                Again = _again.Values,
                InFlight = [.. _window.Select(flight => flight.Batch.Lane)],
                Window = isReady && !_isEnding ? _sink.MaxInFlight(_settings) : 0,
                LastLane = _lastLane,
                UntilAttempt = isReady ? _circuit.UntilNext : TimeSpan.Zero,
                IsProbing = _circuit.IsProbing,
                IsHeld = _sink.IsHeld,
                SinceLastSend = _fleet.GetElapsedTime(_lastSent),
                UntilBackfill = _backfillRate.UntilNext(_settings.BackfillBatchesPerMinute),
                Holds = holds,
            });
            if (plan.Lane is not { } lane) return plan.Wait;
            if (plan.Again is { } again) _again.Remove(again.FirstId);
            if ((plan.Again ?? Cut(plan, lane, holds)) is not { } batch) continue;
            if (lane == Lane.Backfill) _backfillRate.Take();
            Send(batch);
        }
    }

    Batch? Cut(Plan plan, Lane lane, Dictionary<Lane, Hold> holds)
    {
        var first = plan.Ids.First;
        var left = _settings.UploadInterval - (_fleet.GetUtcNow() - RecordedAt(first));
        if (plan.CanGrow && left > TimeSpan.Zero && plan.Ids.Count < _settings.BatchSize)
        {
            holds[lane] = new(left);
            return null;
        }

        var most = _circuit.IsProbing ? Circuit.ProbeReadings : _settings.BatchSize;
        var last = Math.Min(plan.Ids.FirstMissingFrom(first), first + most) - 1;
        _taken = _taken.Union(IdSet.Of(first, last));
        return Encode(first, last, lane);
    }

    void Send(Batch batch)
    {
        (_lastLane, _lastSent) = (batch.Lane, _fleet.GetTimestamp());
        _window.Add((batch, _sink.SendAsync(batch, _settings, CancellationToken.None)));
    }

    Batch Encode(long first, long last, Lane lane)
    {
        var readings = new BufferedReading[last - first + 1];
        for (var i = 0; i < readings.Length; i++) readings[i] = new(first + i, RecordedAt(first + i), default);
        return new("epoch", readings, default) { Lane = lane };
    }

    DateTimeOffset RecordedAt(long id) =>
        FleetSimulation.At(FirstReading + ((id - 1) * FleetSimulation.ReadingEvery));
}
