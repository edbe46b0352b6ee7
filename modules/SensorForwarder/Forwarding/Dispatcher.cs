using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Sends batches and decides what their ends mean. It acts only in <see cref="Step"/>, one caller at a time, and knows
/// time only from its provider: <see cref="Forwarder"/> steps it when something happens, a simulation steps it through
/// a month. A batch keeps its boundaries until it is accepted; what failed is sent again, oldest first, before anything
/// new.
/// </summary>
internal sealed partial class Dispatcher(
    TelemetryBuffer buffer,
    IReadOnlyDictionary<SinkKind, ISink> sinks,
    BatchEncoder encoder,
    TimeProvider timeProvider,
    Random random,
    ILogger logger,
    Action wake)
{
    // A receiver that rejects this many single readings one after the other may be broken rather than they are: until
    // it takes one, any one of those that wait is tried, and only now and then one more goes to the dead letters.
    const int RejectedInARowMax = 5;

    static readonly TimeSpan OneMoreAsideEvery = TimeSpan.FromHours(1);
    static readonly TimeSpan TrickleEvery = TimeSpan.FromMinutes(1);
    static readonly TimeSpan LookAtHeld = TimeSpan.FromSeconds(5);

    readonly Lanes _lanes = new(buffer, encoder, timeProvider);
    readonly Circuit _circuit = new(timeProvider, random);
    readonly BackfillRate _backfillRate = new(timeProvider);
    readonly MeteredLanes _meter = new(new(buffer, timeProvider, wake));
    readonly List<InFlight> _window = [];
    readonly List<Batch> _failed = [];
    (SendResult Result, Batch Batch)? _failure;
    int _rejectedInARow;
    long _putAsideAt;
    Task _settling = Task.CompletedTask;
    ISink? _sink;
    long? _notReadySince;
    TimeSpan? _absence;
    long? _heldSince;
    readonly Moment?[] _lastAccepted = new Moment?[2]; // by lane
    Lane _lastLane;
    long _lastSent;
    bool _rewind;
    bool _tryNow;
    ForwardingSettings? _settings;

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

    /// <summary>The batches that were taken out of the buffer and have not left for good: those in memory.</summary>
    public IReadOnlyList<Batch> Held => [.. _window.Select(flight => flight.Batch), .. _failed, .. _lanes.Again];

    /// <summary>Ends when the buffer has taken note of everything that was accepted, put aside, or
    /// is to be billed.</summary>
    public Task Settling => Task.WhenAll(_settling, _meter.Quota.Reserving);

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
        if (settings is not null)
        {
            _lanes.Observe(settings);
            Compare(settings);
        }

        _meter.BeginTurn();
        var wait = settings is null || paused ? null : Fill(settings, flushThrough, sendToken);
        SettledThrough = FindSettled();
        Remember();
        Describe(settings);
        return wait;
    }

    /// <summary>Takes the ends of sends into account for the last time, and hands over what the next
    /// run has to know.</summary>
    public void Close()
    {
        // Without a word of what is given up now: there is no next attempt to tell of.
        ReapEnded();
        Remember();
        Note(_lanes.Sent.CommitAsync(CancellationToken.None));
        Note(_meter.Quota.CloseAsync(CancellationToken.None));
    }

    /// <summary>Other settings are a reason to try again only where they say who gets what in which form.</summary>
    void Compare(ForwardingSettings now)
    {
        var before = _settings ?? now;
        _settings = now;
        if (before.Sink != now.Sink || before.HttpEndpoint != now.HttpEndpoint)
        {
            ForgetReceiver();
            _circuit.MayBeMended(isAnotherReceiver: true);
        }
        else if ((before.BatchSize, before.BatchMaxBytes, before.Compression, before.MessageFormat)
            != (now.BatchSize, now.BatchMaxBytes, now.Compression, now.MessageFormat)
            || (before.HttpTimeout, before.AcceptHtml) != (now.HttpTimeout, now.AcceptHtml))
            _circuit.MayBeMended(isAnotherReceiver: false);
    }

    /// <summary>Another receiver does not have what was sent to the one before: its 409 means something else.</summary>
    void ForgetReceiver()
    {
        for (var i = 0; i < _failed.Count; i++) _failed[i] = _failed[i] with { Conflict = ConflictMeaning.Other };
        for (var i = 0; i < _window.Count; i++)
            _window[i] = _window[i] with { Batch = _window[i].Batch with { Conflict = ConflictMeaning.Other } };
        _lanes.ForgetReceiver();
    }

    void Reap()
    {
        ReapEnded();
        if (_window.Count > 0 || _failed.Count == 0) return;
        if (_failure is { } failure) BackOff(failure.Result, failure.Batch);
        _lanes.GiveBack(_failed);
        _failed.Clear();
        _failure = null;
        Remember();
        Note(_lanes.Sent.CommitAsync(CancellationToken.None));
    }

    void ReapEnded()
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
    }

    // Of what is under way a kill hides the answer: the receiver may have it then. What certainly did not arrive, it
    // can't have: the next run takes every batch here for one that may have arrived.
    void Remember() => _lanes.Sent.Keep(
    [
        .. _window.Select(flight => flight.Batch.Conflict == ConflictMeaning.Denied
            ? flight.Batch with { Conflict = ConflictMeaning.Stored }
            : flight.Batch),
        .. _failed.Concat(_lanes.Again).Select(batch =>
            batch.MayHaveArrived ? batch : batch with { Conflict = ConflictMeaning.Denied }),
    ]);

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
                _ = _settling.ContinueWith(
                    _ => wake(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
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
        Status = Status with { UpstreamHeldSince = sink.IsHeld ? Moment.Now(timeProvider) : null };
    }

    /// <summary>While edgeHub has no cloud a batch a minute goes all the same: edgeHub tries harder with something to
    /// send, and numbers that mean something else must not stop everything. A flush goes through.</summary>
    bool KeepHere(ISink sink, long flushThrough) =>
        sink.IsHeld && SettledThrough >= flushThrough
            && (_window.Count > 0 || timeProvider.GetElapsedTime(_lastSent) < TrickleEvery);

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
            settings, sink.MaxBytes(settings), flushThrough, _circuit.IsProbing ? Circuit.ProbeReadings : int.MaxValue)
        {
            AnyOne = _circuit.IsProbing && !MayPutAside ? random : null,
        };
        var size = _circuit.IsProbing || sink.IsHeld ? 1 : sink.MaxInFlight(settings);
        var isFlushing = SettledThrough < flushThrough;
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
                _ => wake(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default);
        }

        return wait;

        Batch? NextOf(Lane lane, ref TimeSpan? wait)
        {
            if (lane == Lane.Backfill && !isFlushing
                && _backfillRate.UntilNext(settings.BackfillBatchesPerMinute) is var left && left > TimeSpan.Zero)
            {
                if (_lanes.HasBacklog && (wait is null || left < wait)) wait = left;
                return null;
            }

            var batch = _meter.Next(_lanes, lane, sink, closing, isFlushing, ref wait);
            if (lane == Lane.Backfill && batch is not null) _backfillRate.Take();
            return batch;
        }
    }

    /// <summary>One place stays free for new readings where there are several. But they can fill a slow line by
    /// themselves: then the backlog has one place in turn with them.</summary>
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
