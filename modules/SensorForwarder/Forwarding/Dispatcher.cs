using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Sends batches and decides what their ends mean. It acts only in <see cref="Step"/>, one caller at a time, and knows time
/// only from its provider: <see cref="Forwarder"/> steps it when something happens, a simulation steps it through a month.
/// A batch keeps its boundaries until it is accepted; what failed is sent again, oldest first, before anything new.
/// </summary>
internal sealed class Dispatcher(
    TelemetryBuffer buffer,
    IReadOnlyDictionary<SinkKind, ISink> sinks,
    BatchEncoder encoder,
    TimeProvider timeProvider,
    Random random,
    ILogger logger,
    Action wake)
{
    // A receiver that rejects this many single readings one after the other is broken rather than they are: back off
    // before any more of them go to the dead letters.
    const int RejectedInARowMax = 5;

    static readonly TimeSpan TrickleEvery = TimeSpan.FromMinutes(1);
    static readonly TimeSpan LookAtHeld = TimeSpan.FromSeconds(5);

    readonly Lanes _lanes = new(buffer, encoder, timeProvider);
    readonly Circuit _circuit = new(timeProvider, random);
    readonly BackfillRate _backfillRate = new(timeProvider);
    readonly MeteredLanes _meter = new(new(buffer, timeProvider, wake));
    readonly LogThrottle _throttle = new(timeProvider);
    readonly List<InFlight> _window = [];
    readonly List<Batch> _failed = [];
    (SendResult Result, Batch Batch)? _failure;
    int _rejectedInARow;
    Task _settling = Task.CompletedTask;
    ISink? _sink;
    long? _notReadySince;
    TimeSpan? _absence;
    long? _heldSince;
    Lane _lastLane;
    long _lastSent;
    bool _rewind;
    bool _tryNow;

    /// <summary>Told how long each send took, whatever its end.</summary>
    public Action<TimeSpan>? SendTook { get; init; }

    public ForwardingStatus Status { get; private set; } = new();

    /// <summary>Every reading up to this id was accepted, put aside, or is gone.</summary>
    public long SettledThrough { get; private set; }

    /// <summary>The sink that has to become ready before anything can be sent; null: that is not what is waited for.
    /// </summary>
    public ISink? WaitsFor { get; private set; }

    /// <summary>Sends that have not ended yet.</summary>
    public Task UnderWay => Task.WhenAll(_window.Select(flight => flight.Sending));

    /// <summary>Ends when the buffer has taken note of everything that was accepted or put aside.</summary>
    public Task Settling => _settling;

    /// <summary>Readings went back into the queue below the place that was reached.</summary>
    public void Rewind() => _rewind = true;

    /// <summary>Does not wait any longer for what failed before.</summary>
    public void TryNow() => _tryNow = true;

    /// <summary>Takes the ends of sends into account, and begins as many as may be begun now.</summary>
    /// <param name="settings">Null before the first are known: nothing leaves before.</param>
    /// <param name="paused">Nothing new is begun.</param>
    /// <param name="flushThrough">Readings up to this id leave without waiting for full batches or a rate.</param>
    /// <param name="sendToken">Gives up sends.</param>
    /// <returns>How long there is nothing to do unless something wakes; null: for ever.</returns>
    public TimeSpan? Step(ForwardingSettings? settings, bool paused, long flushThrough, CancellationToken sendToken)
    {
        Reap();
        if (settings is not null) _lanes.Observe(settings);
        var wait = settings is null || paused ? null : Fill(settings, flushThrough, sendToken);
        SettledThrough = FindSettled();
        Remember();
        return wait;
    }

    /// <summary>Takes the ends of sends into account for the last time, and hands over what the next run has to know.</summary>
    public void Close()
    {
        Reap();
        Remember();
        Note(_meter.Quota.CloseAsync(CancellationToken.None));
    }

    void Reap()
    {
        for (var i = 0; i < _window.Count; i++)
        {
            if (!_window[i].Sending.IsCompleted) continue;
            var flight = _window[i];
            _window.RemoveAt(i--);
            Settle(flight.Batch, flight.Sending.IsCompletedSuccessfully
                ? flight.Sending.Result
                : new(SendOutcome.Retry, flight.Sending.Exception?.InnerException?.Message ?? "cancelled"));
        }

        if (_window.Count > 0 || _failed.Count == 0) return;
        if (_failure is { } failure) BackOff(failure.Result, failure.Batch);
        _lanes.GiveBack(_failed);
        _failed.Clear();
        _failure = null;
        Remember();
        Note(_lanes.Sent.CommitAsync(CancellationToken.None));
    }

    void Remember() => _lanes.Sent.Keep([.. _window.Select(flight => flight.Batch), .. _failed, .. _lanes.Again]);

    void Settle(Batch batch, SendResult result)
    {
        if (result.Partial is { } partial)
            SettleParts(batch, result, partial);
        else if (result.Outcome == SendOutcome.Accepted)
            Accept(batch, batch.Readings, batch.Body.Length);
        else if (result.Outcome is SendOutcome.TooLarge or SendOutcome.Rejected && batch.Readings.Count > 1)
            Halve(batch, result);
        else if (result.Outcome is not (SendOutcome.TooLarge or SendOutcome.Rejected)
            || !TryPutAside(batch.Readings[0], result.Outcome.ToString(), result.Reason))
            Fail(batch, result);

        if (result.Outcome != SendOutcome.Accepted)
            Status = Status with { LastError = result.Reason, Failures = Status.Failures + 1 };
    }

    void Accept(Batch batch, IReadOnlyList<BufferedReading> readings, int bytes)
    {
        foreach (var (first, last) in Batch.Ranges(readings))
            Note(buffer.AcknowledgeAsync(first, last, CancellationToken.None));
        if (_circuit.Failures > 0) Log.Recovered(logger, Status.Sink, _circuit.Failures);
        _circuit.Succeeded();
        _rejectedInARow = 0;
        _throttle.Reset();
        Status = Status with
        {
            LastSuccess = timeProvider.GetUtcNow(),
            LastError = null,
            Batches = Status.Batches + 1,
            BackfillBatches = Status.BackfillBatches + (batch.Lane == Lane.Backfill ? 1 : 0),
            Readings = Status.Readings + readings.Count,
            Bytes = Status.Bytes + bytes,
        };
    }

    /// <summary>A receiver that speaks of single readings: what it has is acknowledged, what it will never take is put aside,
    /// and the rest comes again.</summary>
    void SettleParts(Batch batch, SendResult result, PartialAnswer partial)
    {
        bool IsAccepted(BufferedReading reading) => partial.Accepted?.Contains(reading.Id)
            ?? (result.Outcome == SendOutcome.Accepted && !partial.Rejected.ContainsKey(reading.Id));

        // One that refuses every reading of a batch may be broken; one that names some knows what it says.
        var isAll = batch.Readings.All(reading => partial.Rejected.ContainsKey(reading.Id));
        var accepted = batch.Readings.Where(IsAccepted).ToList();
        if (accepted.Count > 0) Accept(batch, accepted, batch.Body.Length);
        var rest = batch.Readings.Where(reading => !IsAccepted(reading) && !IsPutAside(reading)).ToList();
        if (rest.Count == 0) return;
        if (rest.Count < batch.Readings.Count) _failed.Add(_lanes.Part(batch, rest));
        else Fail(batch, result.Reason.Length > 0 ? result : result with { Reason = "it has none of the readings" });

        bool IsPutAside(BufferedReading reading)
        {
            const string Reason = nameof(SendOutcome.Rejected);
            if (!partial.Rejected.TryGetValue(reading.Id, out var why)) return false;
            if (isAll) return TryPutAside(reading, Reason, why);
            PutAside(reading, Reason, why);
            return true;
        }
    }

    void Halve(Batch batch, SendResult result)
    {
        Log.Split(logger, batch.Id, Status.Sink, result.Reason);
        _failed.AddRange(_lanes.Split(batch, batch.Readings.Count / 2));
    }

    void Fail(Batch batch, SendResult result)
    {
        _rejectedInARow = 0;
        _failed.Add(batch);
        _failure ??= (result, batch);
    }

    /// <summary>Puts a refused reading aside, unless too many were refused one after the other.</summary>
    bool TryPutAside(BufferedReading reading, string reason, string answer)
    {
        if (_rejectedInARow >= RejectedInARowMax) return false;
        _rejectedInARow++;
        PutAside(reading, reason, answer);
        return true;
    }

    void PutAside(BufferedReading reading, string reason, string answer)
    {
        Log.DeadLettered(logger, reading.Id, Status.Sink, answer);
        Note(buffer.DeadLetterAsync(reading.Id, reason, answer, CancellationToken.None));
    }

    void BackOff(SendResult failure, Batch batch)
    {
        var delay = _circuit.Failed(failure.RetryAfter);

        // What never left can be cut anew: the next attempt risks little. Anything else keeps its id.
        if (failure.NotSent && batch.Readings.Count > Circuit.ProbeReadings)
        {
            _failed.Remove(batch);
            _failed.AddRange(_lanes.Split(batch, Circuit.ProbeReadings));
        }

        if (!_throttle.ShouldLog(failure.Reason, out var heldBack)) return;
        if (failure.Outcome == SendOutcome.Retry)
            Log.SendFailed(logger, Status.Sink, batch.Id, failure.Reason, delay.TotalSeconds, LogThrottle.Note(heldBack));
        else
            Log.Denied(logger, Status.Sink, batch.Id, failure.Reason, delay.TotalSeconds, LogThrottle.Note(heldBack));
    }

    TimeSpan? Fill(ForwardingSettings settings, long flushThrough, CancellationToken sendToken)
    {
        WaitsFor = null;
        if (_failed.Count > 0) return null;
        if (!sinks.TryGetValue(settings.Sink, out var sink)) return null;
        if (sink != _sink && _window.Count > 0) return null; // a switch waits for what is under way
        Enter(sink, settings);
        if (!sink.IsReady(settings))
        {
            _notReadySince ??= timeProvider.GetTimestamp();
            WaitsFor = sink;
            return null;
        }

        NoteHeld(sink);
        if (_notReadySince is { } since) _absence = Max(_absence, timeProvider.GetElapsedTime(since));
        _notReadySince = null;
        if (_absence is { } absence) _circuit.Reopen(absence);
        _absence = null;
        if (_tryNow) _circuit.TryNow();
        _tryNow = false;
        var wait = _circuit.UntilNext;
        if (wait > TimeSpan.Zero) return wait;
        if (KeepHere(sink, flushThrough)) return LookAtHeld;
        if (_rewind && _lanes.IsFresh)
        {
            if (_window.Count > 0) return null;
            if (!_settling.IsCompleted)
            {
                _ = _settling.ContinueWith(_ => wake(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
                return null;
            }

            _rewind = false;
            _lanes.Rewind();
        }

        return FillWindow(sink, settings, flushThrough, sendToken);
    }

    /// <summary>When the cloud is back behind edgeHub, that is the end of a blackout.</summary>
    void NoteHeld(ISink sink)
    {
        if (sink.IsHeld == _heldSince is not null) return;
        if (_heldSince is { } since) _absence = Max(_absence, timeProvider.GetElapsedTime(since));
        _heldSince = sink.IsHeld ? timeProvider.GetTimestamp() : null;
        Status = Status with { UpstreamHeldSince = sink.IsHeld ? timeProvider.GetUtcNow() : null };
    }

    /// <summary>While edgeHub has no cloud a batch a minute goes all the same: edgeHub tries harder with something to send, and
    /// numbers that mean something else must not stop everything. A flush goes through.</summary>
    bool KeepHere(ISink sink, long flushThrough) =>
        sink.IsHeld && SettledThrough >= flushThrough && (_window.Count > 0 || timeProvider.GetElapsedTime(_lastSent) < TrickleEvery);

    void Enter(ISink sink, ForwardingSettings settings)
    {
        var where = sink.Describe(settings);
        if (sink == _sink && where == Status.Sink) return;

        // At the start the oldest reading tells how long nothing was sent; a switch is no outage.
        _absence = _sink is null ? timeProvider.GetUtcNow() - buffer.GetStatus().OldestRecordedAt : null;
        _absence ??= TimeSpan.Zero;
        _sink = sink;
        Status = Status with { Sink = where };
        Log.Forwarding(logger, where);
    }

    TimeSpan? FillWindow(ISink sink, ForwardingSettings settings, long flushThrough, CancellationToken sendToken)
    {
        var closing = new Closing(
            settings, sink.MaxBytes(settings), flushThrough, _circuit.IsProbing ? Circuit.ProbeReadings : int.MaxValue);
        var size = _circuit.IsProbing || sink.IsHeld ? 1 : sink.MaxInFlight(settings);
        var isFlushing = SettledThrough < flushThrough;
        _meter.HeldBackUntil = null;
        TimeSpan? wait = null;
        while (_window.Count < size)
        {
            wait = null;
            var isBacklogsTurn = IsBacklogsTurn(settings);
            var batch = isBacklogsTurn ? NextOf(Lane.Backfill, ref wait) : null;
            batch ??= NextOf(Lane.Live, ref wait);
            if (!isBacklogsTurn && (size == 1 || _window.Count < size - 1)) batch ??= NextOf(Lane.Backfill, ref wait);
            if (batch is null) break;
            _lastLane = batch.Lane;
            _lastSent = timeProvider.GetTimestamp();
            var sending = SendAsync(sink, batch, settings, sendToken);
            _window.Add(new(batch, sending));
            // Not before the task has ended: a loop that is quicker would find it under way, and sleep on.
            _ = sending.ContinueWith(
                _ => wake(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }

        Status = _meter.Describe(Status, sink, settings);
        return wait;

        Batch? NextOf(Lane lane, ref TimeSpan? wait)
        {
            if (lane == Lane.Backfill && !isFlushing && _backfillRate.UntilNext(settings.BackfillBatchesPerMinute) is var left && left > TimeSpan.Zero)
            {
                if (_lanes.HasBacklog && (wait is null || left < wait)) wait = left;
                return null;
            }

            var batch = _meter.Next(_lanes, lane, sink, closing, isFlushing, ref wait);
            if (lane == Lane.Backfill && batch is not null) _backfillRate.Take();
            return batch;
        }
    }

    /// <summary>One place stays free for new readings where there are several. But they can fill a slow line by themselves:
    /// then the backlog has one place in turn with them.</summary>
    bool IsBacklogsTurn(ForwardingSettings settings) =>
        settings.DrainOrder == DrainOrder.LiveFirst && _lastLane == Lane.Live && _lanes.HasBacklog
        && _window.All(flight => flight.Batch.Lane == Lane.Live);

    long FindSettled()
    {
        var through = _lanes.TakenThrough;
        foreach (var flight in _window) through = Math.Min(through, flight.Batch.FirstId - 1);
        foreach (var batch in _failed) through = Math.Min(through, batch.FirstId - 1);
        return through;
    }

    async Task<SendResult> SendAsync(
        ISink sink, Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        var began = timeProvider.GetTimestamp();
        try
        {
            return MeteredLanes.Objection(batch, sink, settings) is { } objection
                ? new(SendOutcome.TooLarge, objection)
                : await sink.SendAsync(batch, settings, cancellationToken);
        }
        finally
        {
            SendTook?.Invoke(timeProvider.GetElapsedTime(began));
        }
    }

    /// <summary>Lets a deletion go its way: the next batch need not wait for it.</summary>
    void Note(Task deletion)
    {
        var before = _settling;
        _settling = ObserveAsync();

        async Task ObserveAsync()
        {
            try
            {
                await deletion;
            }
            catch (Exception exception)
            {
                Log.AcknowledgeFailed(logger, exception);
            }

            await before;
        }
    }

    static TimeSpan Max(TimeSpan? a, TimeSpan b) => a > b ? a.Value : b;

    sealed record InFlight(Batch Batch, Task<SendResult> Sending);
}
