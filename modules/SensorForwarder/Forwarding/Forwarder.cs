using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Time;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Sends the readings of the buffer to the sink in use, in batches. One loop owns all state; events from outside (a
/// commit, a completed send, new settings, a direct method) only wake it. <see cref="Plan"/> decides what is sent next,
/// <see cref="Outcome"/> what the answer to a batch means. A batch keeps its boundaries until it is accepted or split;
/// failed batches are sent again, oldest first, before new ones of their lane.
/// </summary>
internal sealed class Forwarder : BackgroundService
{
    /// <summary>How long a stop waits for the answers to batches in flight.</summary>
    public static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(3);

    static readonly TimeSpan UnroutedSendInterval = TimeSpan.FromMinutes(1);

    // How often the loop checks whether a stuck batch may be sent again.
    static readonly TimeSpan RestingCheckInterval = Link.StuckRest / 5;

    readonly TelemetryBuffer _buffer;
    readonly Handovers? _handovers; // null: no sink keeps them
    readonly Flushes _flushes;
    readonly IReadOnlyDictionary<SinkKind, ISink> _sinks;
    readonly TimeProvider _timeProvider;
    readonly Random _random;
    readonly ILogger<Forwarder> _logger;
    readonly Channel<bool> _wake =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    readonly ITimer _timer; // wakes the loop when a turn is due

    // Set by others, read by the loop.
    volatile ForwardingSettings? _settings; // null until the first Apply; nothing is sent until then
    volatile bool _paused;
    volatile bool _tryNow;

    // Set by the loop, read by others.
    volatile ForwardingStatus _status = new();

    // The sink whose readiness a task awaits. Set by the loop, reset by that task.
    volatile ISink? _awaitedSink;

    // Used only by the loop.
    readonly BatchEncoder _encoder;
    readonly SentRecord _sent;
    readonly WaitingReadings _waiting;
    readonly Link _link;
    readonly BackfillRate _backfillRate;
    readonly Quota _quota;
    readonly List<Flight> _inFlight = [];
    bool _isDraining; // a send failed: no other starts until those in flight have completed
    (SendResult Result, Batch Batch)? _failure; // the first since the last back-off
    bool _isRestored;
    ISink? _unreadySink; // the sink in use, if it is not ready
    Lane _lastLane;
    readonly long[] _lastSent = new long[3]; // by lane
    ForwardingSettings? _lastSettings; // of the last turn

    public Forwarder(
        TelemetryBuffer buffer,
        IReadOnlyDictionary<SinkKind, ISink> sinks,
        BatchEncoder encoder,
        TimeProvider timeProvider,
        Random random,
        ILogger<Forwarder> logger)
    {
        (_buffer, _sinks, _encoder) = (buffer, sinks, encoder);
        (_timeProvider, _random, _logger) = (timeProvider, random, logger);
        _handovers = sinks.Values.Select(sink => sink.Handovers).FirstOrDefault(handovers => handovers is not null);
        _flushes = new(buffer, timeProvider);
        _sent = new(buffer);
        _waiting = new(buffer, new(buffer, encoder, timeProvider), _sent, timeProvider, logger);
        _link = new(buffer, timeProvider, random, logger);
        _backfillRate = new(timeProvider);
        _quota = new(buffer, timeProvider, Wake);
        _timer = timeProvider.CreateTimer(_ => Wake(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _buffer.Committed += Wake;
        _buffer.ReadingsReturned += Invalidate;
    }

    /// <summary>Raised with the time from sending a batch to its answer, on any thread. Handlers must not block.
    /// </summary>
    public event Action<TimeSpan>? SendTook;

    public ForwardingStatus Status => _status with { Paused = _paused };

    /// <summary>Turns of the loop since the start; increases soon after <see cref="Nudge"/> if the loop is alive.
    /// </summary>
    public long Turns
    {
        get => Volatile.Read(ref field);
        private set => Volatile.Write(ref field, value);
    }

    /// <summary>Whether the loop was woken since the last <see cref="Step"/>.</summary>
    public bool IsAwake => _wake.Reader.TryPeek(out _);

    /// <summary>The batches in memory.</summary>
    public IReadOnlyList<Batch> Held => [.. InFlight, .. _waiting.Again];

    /// <summary>Completes when all acknowledgements, dead letters and quota reservations so far are committed, or
    /// failed to commit.</summary>
    public Task Settling => Task.WhenAll(_waiting.Settling, _quota.Reserving);

    IEnumerable<Batch> InFlight => _inFlight.Select(flight => flight.Batch);

    /// <summary>Wakes the loop for one turn.</summary>
    public void Nudge() => Wake();

    /// <summary>Applies new settings from the next batch on.</summary>
    public void Apply(ForwardingSettings settings)
    {
        // A Plug and Play message holds one reading, so a batch need not wait for more.
        if (settings is { Sink: SinkKind.IotHub, MessageFormat: MessageFormat.Pnp })
            settings = settings with { BatchSize = 1 };
        if (settings == _settings) return;
        _encoder.Tags = settings.Tags;
        _settings = settings;
        Wake();
    }

    public void Pause() => SetPaused(true);

    public void Resume() => SetPaused(false);

    /// <summary>Sends all readings that are in the buffer now, without waiting for full batches, the backfill rate or
    /// the pace of the daily quota.</summary>
    /// <returns>Whether all of them were settled within the timeout.</returns>
    public Task<bool> FlushAsync(TimeSpan timeout, CancellationToken cancellationToken) => _flushes.RunAsync(
        timeout,
        () =>
        {
            _tryNow = true;
            Wake();
        },
        Wake, cancellationToken);

    /// <summary>Sends delivered readings that are still in the buffer again, with the same ids, in the backfill lane.
    /// </summary>
    /// <param name="sensors">Null: all sensors.</param>
    /// <returns>The number of readings; completes when the buffer has committed them as waiting.</returns>
    public async Task<int> ReplayAsync(
        DateTimeOffset from, DateTimeOffset to, IReadOnlyList<string>? sensors, CancellationToken cancellationToken)
    {
        var ids = await Task.Run(() => _waiting.Replay(from, to, sensors, cancellationToken), cancellationToken);
        if (ids.IsEmpty) return 0;
        var returning = _buffer.GiveBackAsync(ids, CancellationToken.None);
        await _buffer.CommitAsync(CancellationToken.None);
        await returning;
        return (int)ids.Count;
    }

    /// <summary>One turn of the loop: handles completed sends and starts as many as are allowed now. Called by the loop
    /// only, or by a simulation in its place.</summary>
    /// <param name="sendToken">Cancels the sends.</param>
    /// <returns>Time until the next turn is due if nothing wakes the loop; null: only an event makes one due.</returns>
    public TimeSpan? Step(CancellationToken sendToken)
    {
        _wake.Reader.TryRead(out _);
        // After the signal is consumed: a turn that serves a nudge is then counted after the nudge.
        Turns++;
        var settings = _settings;
        HandleCompleted();
        if (_inFlight.Count == 0 && _isDraining) BackOffAfterFailure();
        if (!_isRestored) Restore();
        var untilRead = ReadMetricsPage(settings, sendToken);
        _waiting.Refresh(settings, InFlight);
        TimeSpan? wait = null;
        if (settings is not null)
        {
            HandleChangedSettings(settings);
            wait = StartSends(settings, sendToken);
        }

        KeepSent();
        _status = _link.EndTurn() with { Delivered = _waiting.Delivered };
        _flushes.Report(_waiting.FirstId(InFlight) - 1);
        return Sooner(wait, untilRead);
    }

    /// <summary>Handles completed sends for the last time and saves the state for the next run.</summary>
    public void Close()
    {
        // Cancelled sends are not logged as failures: this run makes no further attempt.
        HandleCompleted();
        KeepSent();
        _waiting.Track(_sent.CommitAsync());
        _waiting.Track(_quota.CloseAsync(CancellationToken.None));
    }

    public override void Dispose()
    {
        _buffer.Committed -= Wake;
        _buffer.ReadingsReturned -= Invalidate;
        _timer.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        // Sends have a separate token: at a stop, those in flight get StopPatience to complete.
        using var sends = new CancellationTokenSource();
        var failedTurns = 0;
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                var wait = Step(sends.Token);
                failedTurns = 0;
                if (_unreadySink is { } sink) WakeWhenReady(sink, stoppingToken);
                _timer.Change(wait ?? Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
                await _wake.Reader.WaitToReadAsync(stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                break;
            }
            catch (Exception exception)
            {
                // For example, the buffer could not be read.
                var delay = Backoff.Next(++failedTurns, Circuit.BackoffBase, Circuit.BackoffMax, _random.NextDouble());
                ForwardingLog.ForwarderFailed(_logger, delay.TotalSeconds, exception);
                await Task.Delay(delay, _timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        var inFlight = Task.WhenAll(_inFlight.Select(flight => flight.Sending));
        await Task.WhenAny(inFlight, Task.Delay(StopPatience, _timeProvider, CancellationToken.None));
        await sends.CancelAsync();
        Close();
    }

    void KeepSent() => _sent.Keep(InFlight, _waiting.Again, _handovers?.Books ?? "");

    /// <summary>Loads the custody books of the last run. Handed-over readings that are not in the books are sent again.
    /// </summary>
    void Restore()
    {
        _handovers?.Restore(_sent.LoadBooks());
        _waiting.Return(_buffer.HandedOver.Except(_handovers?.Known ?? IdSet.Empty));
        _isRestored = true;
    }

    /// <summary>Reads edgeHub's metrics page when it is due, and carries out the verdict of the last read.</summary>
    /// <returns>Time until the next read; null: none is due.</returns>
    TimeSpan? ReadMetricsPage(ForwardingSettings? settings, CancellationToken sendToken)
    {
        if (_handovers is null || settings is null) return null;
        var sink = _sinks.GetValueOrDefault(settings.Sink);
        var isCurrent = sink?.Handovers == _handovers;
        var (verdict, wait) = _handovers.Step(isCurrent, isCurrent && sink!.IsReady(settings), Wake, sendToken);
        _waiting.CarryOut(verdict);
        return wait;
    }

    /// <summary>Ends the back-off if a setting changed that may affect whether the receiver accepts a batch.</summary>
    void HandleChangedSettings(ForwardingSettings now)
    {
        var before = _lastSettings ?? now;
        _lastSettings = now;
        if (before.Sink != now.Sink || before.HttpEndpoint != now.HttpEndpoint)
        {
            // The new receiver has none of the batches sent so far, so its 409 does not mean "already stored". Other:
            // an unclear answer of the former receiver does not change that.
            for (var i = 0; i < _inFlight.Count; i++)
            {
                var batch = _inFlight[i].Batch with { Conflict = ConflictMeaning.Other };
                _inFlight[i] = _inFlight[i] with { Batch = batch, IsToFormerReceiver = true };
            }

            _waiting.ForgetReceiver();
            _link.Circuit.SettingsChanged(isAnotherReceiver: true);
        }
        else if ((before.BatchSize, before.BatchMaxBytes, before.Compression, before.MessageFormat)
            != (now.BatchSize, now.BatchMaxBytes, now.Compression, now.MessageFormat)
            || (before.HttpTimeout, before.AcceptHtml) != (now.HttpTimeout, now.AcceptHtml))
            _link.Circuit.SettingsChanged(isAnotherReceiver: false);
    }

    /// <summary>Starts as many sends as are allowed now.</summary>
    /// <returns>Time until another send may be allowed; null: only an event allows one.</returns>
    TimeSpan? StartSends(ForwardingSettings settings, CancellationToken sendToken)
    {
        _unreadySink = null;
        var sink = _sinks.GetValueOrDefault(settings.Sink);
        if (!_link.IsUsing(sink) && _inFlight.Count > 0) sink = null; // a new sink waits for the sends in flight
        var isReady = sink is not null && !_paused && !_isDraining && IsReady(sink, settings)
            && sink.Handovers?.IsPausing != true;
        var window = isReady ? sink!.MaxInFlight(settings) : 0;
        var flushThrough = _flushes.Through;
        var holds = new Dictionary<Lane, Hold>();
        while (true)
        {
            if (isReady) HoldUnrouted(sink!, holds);

            // Read once: the value depends on the time and could change between the two uses.
            var untilAttempt = isReady ? _link.Circuit.UntilNext : TimeSpan.Zero;
            if (_inFlight.Count < window && untilAttempt <= TimeSpan.Zero) _waiting.LimitLag(settings);
            var again = _waiting.Again.ToLookup(_link.IsResting);
            var now = new Situation
            {
                Settings = settings,
                Fresh = _waiting.Fresh,
                LastId = _waiting.LastId,
                LiveAfter = _waiting.LiveAfter,
                Urgent = _waiting.Urgent,
                Replayed = _waiting.Replayed,
                Again = [.. again[false]],
                InFlight = [.. InFlight.Select(batch => batch.Lane)],
                Window = window,
                LastLane = _lastLane,
                UntilAttempt = untilAttempt,
                IsProbing = _link.Circuit.IsProbing,
                WantsSample = _link.Circuit.IsProbing && _waiting.DeadLetterRoom == 0,
                IsHeld = isReady && _link.Status.UpstreamHeldSince is not null,
                SinceLastSend = _timeProvider.GetElapsedTime(_lastSent.Max()),
                IsFlushing = flushThrough > 0,
                UntilBackfill = _backfillRate.UntilNext(settings.BackfillBatchesPerMinute),
                Holds = holds,
            };
            var plan = Plan.Next(now);
            if (plan.Lane is not { } lane)
            {
                _link.Describe(now with { Again = _waiting.Again }, plan, [.. InFlight], _quota);
                return isReady && again[true].Any() ? Sooner(plan.Wait, RestingCheckInterval) : plan.Wait;
            }

            var closing = new Closing(
                settings, sink!.MaxBytes(settings), flushThrough,
                _link.Circuit.IsProbing ? Circuit.ProbeReadings : int.MaxValue);
            if (Take(plan, closing, sink, holds) is not { } batch) continue;
            if (lane == Lane.Backfill) _backfillRate.Take();
            Send(batch, sink, settings, sendToken);
        }
    }

    /// <summary>Takes the batch of a plan if the daily quota allows it.</summary>
    /// <returns>Null: the lane was added to <paramref name="holds"/>, or the readings no longer wait.</returns>
    Batch? Take(Plan plan, Closing closing, ISink sink, Dictionary<Lane, Hold> holds)
    {
        var (lane, settings) = (plan.Lane!.Value, closing.Settings);
        var isBehind = lane == Lane.Backfill
            || (lane == Lane.Live && settings.DrainOrder == DrainOrder.OldestFirst && _waiting.IsBehind(settings));
        var share = closing.FlushThrough > 0 || lane == Lane.Alarm ? QuotaShare.Everything
            : isBehind ? QuotaShare.Backlog : QuotaShare.Live;
        var limit = Quota.LimitOf(sink, settings);
        var allowance = limit == 0 ? long.MaxValue : _quota.Allowance(limit, share);
        if (allowance < 1)
        {
            holds[lane] = _quota.Hold(limit, share, 1);
            return null;
        }

        if (limit > 0) closing = closing with
        {
            MaxBytes = (int)Math.Min(
                closing.MaxBytes, (allowance * Quota.ChunkBytes) - Quota.PropertyBytes - settings.Tags.Bytes),
            IsPacked = true,
        };
        TimeSpan? due = null;
        if ((plan.Again ?? _waiting.Cut(plan, closing, _random, out due)) is not { } batch)
        {
            if (due is not null) holds[lane] = new(due);
            return null;
        }

        var chunks = Quota.Chunks(batch, settings);
        if (limit == 0 && sink.IsMetered) _quota.Count(chunks);
        TimeSpan? reserving = null;

        // A batch above the limit is allowed here: Quota.Objection is reported instead of sending it.
        var isAllowed = limit == 0 || chunks > limit
            || (chunks <= allowance && _quota.TryTake(limit, chunks, out reserving));
        if (plan.Again is not null && isAllowed) _waiting.Take(batch);
        if (plan.Again is null && !isAllowed) _waiting.GiveBack(batch);
        if (isAllowed) return batch;
        holds[lane] = chunks > allowance ? _quota.Hold(limit, share, chunks) : new(reserving);
        return null;
    }

    bool IsReady(ISink sink, ForwardingSettings settings)
    {
        if (!_link.IsReady(sink, settings))
        {
            _unreadySink = sink;
            return false;
        }

        if (_tryNow)
        {
            _tryNow = false;
            _link.Circuit.TryNow();
        }

        return true;
    }

    /// <summary>Holds the lanes that edgeHub has no route for, except for one batch a minute each.</summary>
    void HoldUnrouted(ISink sink, Dictionary<Lane, Hold> holds)
    {
        foreach (var lane in Enum.GetValues<Lane>().Where(lane => sink.Handovers?.IsUnrouted(lane) == true))
        {
            var wait = UnroutedSendInterval - _timeProvider.GetElapsedTime(_lastSent[(int)lane]);
            if (wait > TimeSpan.Zero) holds[lane] = new(wait);
        }
    }

    void Send(Batch batch, ISink sink, ForwardingSettings settings, CancellationToken sendToken)
    {
        if (batch.Lane != Lane.Alarm) _lastLane = batch.Lane;
        _lastSent[(int)batch.Lane] = _timeProvider.GetTimestamp();
        sink.Handovers?.Sent(batch);
        var sending = SendAsync(sink, batch, settings, sendToken);
        _inFlight.Add(new(batch, sending));
        // In a continuation: the loop then finds the task completed.
        _ = sending.ContinueWith(
            _ => Wake(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }

    async Task<SendResult> SendAsync(
        ISink sink, Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        var began = _timeProvider.GetTimestamp();
        try
        {
            return Quota.Objection(batch, sink, settings) is { } objection
                ? new(SendOutcome.TooLarge, objection)
                : await sink.SendAsync(batch, settings, cancellationToken);
        }
        finally
        {
            SendTook?.Invoke(_timeProvider.GetElapsedTime(began));
        }
    }

    void HandleCompleted()
    {
        foreach (var flight in _inFlight.FindAll(flight => flight.Sending.IsCompleted))
        {
            _inFlight.Remove(flight);
            Settle(flight, flight.Sending.IsCompletedSuccessfully
                ? flight.Sending.Result
                : new(SendOutcome.Retry, flight.Sending.Exception?.InnerException?.Message ?? "cancelled"));
        }
    }

    /// <summary>Carries out the <see cref="Outcome"/> of a batch.</summary>
    void Settle(Flight flight, SendResult answer)
    {
        var batch = flight.Batch;
        var outcome = Outcome.Apply(batch, answer, _waiting.DeadLetterRoom);
        _link.Answered(batch, outcome);
        _waiting.CarryOut(batch, outcome, _link.Status.Sink, _link.Handovers);
        if (outcome.Again is { } again)
        {
            again = _link.MarkStuck(again, outcome.Error, _lastSettings?.DrainOrder == DrainOrder.LiveFirst);
            _waiting.GiveBack(flight.IsToFormerReceiver ? again with { Conflict = ConflictMeaning.Denied } : again);
            _failure ??= (outcome.Result with { Reason = outcome.Error }, again);
        }

        _isDraining |= outcome.Parts.Count > 0 || outcome.Again is not null;
    }

    /// <summary>Backs off, once all sends that were in flight at a failure have completed.</summary>
    void BackOffAfterFailure()
    {
        _isDraining = false;
        if (_failure is var (result, batch))
        {
            _link.BackOff(result, batch);

            // A batch that certainly has not arrived is cut to probe size. Any other keeps its boundaries and id.
            if (!batch.MayHaveArrived && batch.Readings.Count > Circuit.ProbeReadings) _waiting.SplitForProbe(batch);
        }

        _failure = null;
        KeepSent();
        _waiting.Track(_sent.CommitAsync());
    }

    void WakeWhenReady(ISink sink, CancellationToken stoppingToken)
    {
        if (_awaitedSink == sink) return;
        _awaitedSink = sink;
        _ = WaitThenWakeAsync();

        async Task WaitThenWakeAsync()
        {
            await sink.WaitUntilReadyAsync(stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            _awaitedSink = null;
            Wake();
        }
    }

    void SetPaused(bool isPaused)
    {
        _paused = isPaused;
        ForwardingLog.Paused(_logger, isPaused ? "paused" : "resumed");
        Wake();
    }

    void Invalidate()
    {
        _waiting.Invalidate();
        Wake();
    }

    void Wake() => _wake.Writer.TryWrite(true);

    static TimeSpan? Sooner(TimeSpan? one, TimeSpan? other) => new[] { one, other }.Min();

    /// <param name="Batch">The batch.</param>
    /// <param name="Sending">Completes with the answer.</param>
    /// <param name="IsToFormerReceiver">Whether sink or endpoint have changed since it was sent.</param>
    sealed record Flight(Batch Batch, Task<SendResult> Sending, bool IsToFormerReceiver = false);
}
