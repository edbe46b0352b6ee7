using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Takes batches out of the buffer and through the sink. One loop owns all of it: everything from outside (a commit, a
/// send that ended, new settings, a method) only wakes the loop, which then looks at the world and acts.
/// A batch keeps its boundaries until it is accepted; what failed is sent again, oldest first, before anything new.
/// </summary>
internal sealed class Forwarder : BackgroundService
{
    static readonly TimeSpan BackoffBase = TimeSpan.FromSeconds(1);
    static readonly TimeSpan BackoffMax = TimeSpan.FromMinutes(5);
    static readonly TimeSpan RetryAfterMax = TimeSpan.FromHours(1);

    // A receiver that rejects this many single readings one after the other is broken rather than they are: back off
    // before any more of them go to the dead letters.
    const int RejectedInARowMax = 5;

    static readonly TimeSpan ShutdownPatience = TimeSpan.FromSeconds(3);

    readonly TelemetryBuffer _buffer;
    readonly IReadOnlyDictionary<SinkKind, ISink> _sinks;
    readonly BatchQueue _queue;
    readonly TimeProvider _timeProvider;
    readonly Random _random;
    readonly ILogger<Forwarder> _logger;
    readonly LogThrottle _throttle;
    readonly Channel<bool> _wake =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    // Set by others, read by the loop.
    volatile ForwardingSettings? _settings; // null until the first are known: nothing leaves before
    volatile bool _paused;
    volatile bool _rewind;
    volatile bool _resumeAtNow;
    long _flushThrough;

    // Set by the loop, read by others.
    volatile ForwardingStatus _status = new();
    volatile TaskCompletionSource _progress = NewPulse();
    long _settledThrough;

    // Used only by the loop.
    readonly Queue<InFlight> _window = new();
    readonly List<Batch> _failed = [];
    SendResult? _failure;
    int _failuresInARow;
    long _resumeAt;
    Task _acknowledged = Task.CompletedTask;
    int _rejectedInARow;
    volatile ISink? _waitingFor;
    ISink? _lastSink;

    public Forwarder(
        TelemetryBuffer buffer,
        IReadOnlyDictionary<SinkKind, ISink> sinks,
        BatchEncoder encoder,
        TimeProvider timeProvider,
        Random random,
        ILogger<Forwarder> logger)
    {
        _buffer = buffer;
        _sinks = sinks;
        _queue = new(buffer, encoder, timeProvider);
        _timeProvider = timeProvider;
        _random = random;
        _logger = logger;
        _throttle = new(timeProvider);
        _buffer.Committed += Wake;
        _buffer.ReadingsReturned += Rewind;
    }

    public ForwardingStatus Status => _status with { Paused = _paused };

    /// <summary>New settings are in force for the next batch; those under way are not touched.</summary>
    public void Apply(ForwardingSettings settings)
    {
        // A message holds one reading then, so there is nothing to wait for either.
        _settings = settings is { Sink: SinkKind.IotHub, MessageFormat: MessageFormat.Pnp } ? settings with { BatchSize = 1 } : settings;
        _resumeAtNow = true;
        Wake();
    }

    public void Pause()
    {
        _paused = true;
        Log.Paused(_logger, "paused");
        Wake();
    }

    public void Resume()
    {
        _paused = false;
        Log.Paused(_logger, "resumed");
        Wake();
    }

    /// <summary>Readings went back into the queue below the place that the forwarder has reached.</summary>
    void Rewind()
    {
        _rewind = true;
        Wake();
    }

    /// <summary>Sends everything that is there now without waiting for full batches.</summary>
    /// <returns>Whether all of it was accepted in time.</returns>
    public async Task<bool> FlushAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        var started = _timeProvider.GetTimestamp();
        try
        {
            await _buffer.CommitAsync(cancellationToken).WaitAsync(timeout, _timeProvider, cancellationToken);
        }
        catch (Exception exception) when (exception is TimeoutException or BufferUnavailableException)
        {
            return false; // the volume takes nothing now
        }

        var target = _buffer.LastCommittedId;
        for (var seen = Volatile.Read(ref _flushThrough); seen < target; seen = Volatile.Read(ref _flushThrough))
            Interlocked.CompareExchange(ref _flushThrough, target, seen);
        _resumeAtNow = true;
        Wake();
        while (true)
        {
            var progress = _progress.Task;
            if (Volatile.Read(ref _settledThrough) >= target) return true;
            var left = timeout - _timeProvider.GetElapsedTime(started);
            if (left <= TimeSpan.Zero) return false;
            await progress.WaitAsync(left, _timeProvider, cancellationToken)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
            cancellationToken.ThrowIfCancellationRequested();
        }
    }

    public override void Dispose()
    {
        _buffer.Committed -= Wake;
        _buffer.ReadingsReturned -= Rewind;
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        // Sends live a little longer than the loop: what is under way at the end gets its chance.
        using var sends = new CancellationTokenSource();
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                Reap();
                var wait = Fill(sends.Token, stoppingToken);
                await WaitAsync(wait, stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                break;
            }
            catch (Exception exception)
            {
                // The buffer could not be read, say: look again later.
                Back(Backoff.Next(++_failuresInARow, BackoffBase, BackoffMax, _random.NextDouble()));
                Log.ForwarderFailed(_logger, UntilResume().TotalSeconds, exception);
                await Task.Delay(UntilResume(), _timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        await Task.WhenAny(
            Task.WhenAll(_window.Select(flight => flight.Sending)),
            Task.Delay(ShutdownPatience, _timeProvider, CancellationToken.None));
        await sends.CancelAsync();
        Reap();
    }

    /// <summary>Takes the ends of sends into account, in the order in which they were begun.</summary>
    void Reap()
    {
        while (_window.TryPeek(out var flight) && flight.Sending.IsCompleted)
        {
            _window.Dequeue();
            var result = flight.Sending.IsCompletedSuccessfully
                ? flight.Sending.Result
                : new(SendOutcome.Retry, flight.Sending.Exception?.InnerException?.Message ?? "cancelled");
            Settle(flight.Batch, result);
        }

        if (_window.Count == 0 && _failed.Count > 0)
        {
            if (_failure is { } failure) BackOff(failure, _failed[0]);
            _queue.GiveBack(_failed);
            _failed.Clear();
            _failure = null;
        }

        var settled = _queue.TakenThrough;
        if (_window.TryPeek(out var head)) settled = Math.Min(settled, head.Batch.FirstId - 1);
        if (_failed.Count > 0) settled = Math.Min(settled, _failed[0].FirstId - 1);
        Volatile.Write(ref _settledThrough, settled);
        Interlocked.Exchange(ref _progress, NewPulse()).TrySetResult();
    }

    void Settle(Batch batch, SendResult result)
    {
        var where = _status.Sink;
        switch (result.Outcome)
        {
            case SendOutcome.Accepted:
                Acknowledge(batch);
                if (_failuresInARow > 0) Log.Recovered(_logger, where, _failuresInARow);
                _failuresInARow = 0;
                _rejectedInARow = 0;
                _throttle.Reset();
                _status = _status with
                {
                    LastSuccess = _timeProvider.GetUtcNow(),
                    LastError = null,
                    Batches = _status.Batches + 1,
                    Readings = _status.Readings + batch.Readings.Count,
                    Bytes = _status.Bytes + batch.Body.Length,
                };
                return;

            case SendOutcome.TooLarge or SendOutcome.Rejected when batch.Readings.Count > 1:
                Log.Split(_logger, batch.Id, where, result.Reason);
                _failed.AddRange(_queue.Split(batch));
                break;

            case SendOutcome.TooLarge or SendOutcome.Rejected when _rejectedInARow < RejectedInARowMax:
                _rejectedInARow++;
                Log.DeadLettered(_logger, batch.FirstId, where, result.Reason);
                Note(_buffer.DeadLetterAsync(batch.FirstId, result.Outcome.ToString(), result.Reason, CancellationToken.None));
                break;

            default:
                _rejectedInARow = 0;
                _failed.Add(batch);
                _failure ??= result;
                break;
        }

        _status = _status with { LastError = result.Reason, Failures = _status.Failures + 1 };
    }

    void BackOff(SendResult failure, Batch batch)
    {
        _failuresInARow++;
        var delay = Backoff.Next(_failuresInARow, BackoffBase, BackoffMax, _random.NextDouble());
        if (failure.RetryAfter is { } asked && asked > delay) delay = asked < RetryAfterMax ? asked : RetryAfterMax;
        Back(delay);

        if (!_throttle.ShouldLog(failure.Reason, out var heldBack)) return;
        if (failure.Outcome == SendOutcome.Retry)
            Log.SendFailed(_logger, _status.Sink, batch.Id, failure.Reason, delay.TotalSeconds, LogThrottle.Note(heldBack));
        else
            Log.Denied(_logger, _status.Sink, batch.Id, failure.Reason, delay.TotalSeconds, LogThrottle.Note(heldBack));
    }

    /// <summary>Begins as many sends as may be begun now. Returns how long there is nothing to do unless something
    /// wakes the loop; null: for ever.</summary>
    TimeSpan? Fill(CancellationToken sendToken, CancellationToken stoppingToken)
    {
        var settings = _settings;
        if (_resumeAtNow)
        {
            _resumeAtNow = false;
            _resumeAt = 0;
        }

        if (_rewind && _window.Count == 0 && _queue.IsFresh && _acknowledged.IsCompleted)
        {
            _rewind = false;
            _queue.Rewind();
        }

        if (settings is null || _paused || _failed.Count > 0) return null;
        if (!_sinks.TryGetValue(settings.Sink, out var sink)) return null;
        if (sink != _lastSink && _window.Count > 0) return null; // a switch waits for what is under way
        Enter(sink, settings);

        var wait = UntilResume();
        if (wait > TimeSpan.Zero) return wait;
        if (!sink.IsReady(settings))
        {
            WakeWhenReady(sink, stoppingToken);
            return null;
        }

        while (_window.Count < sink.MaxInFlight(settings))
        {
            var flushThrough = Volatile.Read(ref _flushThrough);
            if (_queue.Next(settings, sink.MaxBytes(settings), flushThrough, out var due) is not { } batch) return due;
            _window.Enqueue(new(batch, SendAndWakeAsync(sink, batch, settings, sendToken)));
        }

        return null;
    }

    void Enter(ISink sink, ForwardingSettings settings)
    {
        var where = sink.Describe(settings);
        if (where != _status.Sink)
        {
            _status = _status with { Sink = where };
            Log.Forwarding(_logger, where);
        }

        _lastSink = sink;
    }

    async Task<SendResult> SendAndWakeAsync(
        ISink sink, Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        try
        {
            return await sink.SendAsync(batch, settings, cancellationToken);
        }
        finally
        {
            Wake();
        }
    }

    void Acknowledge(Batch batch)
    {
        foreach (var (first, last) in batch.Ranges())
            Note(_buffer.AcknowledgeAsync(first, last, CancellationToken.None));
    }

    /// <summary>Lets a deletion go its way: the next batch need not wait for it.</summary>
    void Note(Task deletion)
    {
        var before = _acknowledged;
        _acknowledged = ObserveAsync();

        async Task ObserveAsync()
        {
            try
            {
                await deletion;
            }
            catch (Exception exception)
            {
                Log.AcknowledgeFailed(_logger, exception);
            }

            await before;
        }
    }

    void WakeWhenReady(ISink sink, CancellationToken stoppingToken)
    {
        if (_waitingFor == sink) return;
        _waitingFor = sink;
        _ = WaitThenWakeAsync();

        async Task WaitThenWakeAsync()
        {
            await sink.WaitUntilReadyAsync(stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            _waitingFor = null;
            _resumeAtNow = true;
            Wake();
        }
    }

    async Task WaitAsync(TimeSpan? limit, CancellationToken cancellationToken)
    {
        using var timer = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var woken = _wake.Reader.ReadAsync(timer.Token).AsTask();
        if (limit is { } wait)
        {
            await Task.WhenAny(woken, Task.Delay(wait, _timeProvider, timer.Token));
            await timer.CancelAsync();
        }

        await ((Task)woken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        cancellationToken.ThrowIfCancellationRequested();
    }

    void Wake() => _wake.Writer.TryWrite(true);

    void Back(TimeSpan delay) =>
        _resumeAt = _timeProvider.GetTimestamp() + (long)(delay.TotalSeconds * _timeProvider.TimestampFrequency);

    TimeSpan UntilResume() =>
        _resumeAt == 0 ? TimeSpan.Zero : _timeProvider.GetElapsedTime(_timeProvider.GetTimestamp(), _resumeAt);

    static TaskCompletionSource NewPulse() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    sealed record InFlight(Batch Batch, Task<SendResult> Sending);
}
