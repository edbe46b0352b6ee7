using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Takes batches out of the buffer and through the sink. One loop owns all of it: everything from outside (a commit, a
/// send that ended, new settings, a method) only wakes the loop, and <see cref="Dispatcher"/> looks at the world and
/// acts.
/// </summary>
internal sealed class Forwarder : BackgroundService
{
    /// <summary>How long the answers to batches that are under way are waited for at the end.</summary>
    public static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(3);

    readonly TelemetryBuffer _buffer;
    readonly TimeProvider _timeProvider;
    readonly Random _random;
    readonly ILogger<Forwarder> _logger;
    readonly Channel<bool> _wake =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    // Set by others, read by the loop.
    volatile ForwardingSettings? _settings; // null until the first are known: nothing leaves before
    volatile bool _paused;
    volatile bool _rewind;
    volatile bool _tryNow;
    long _flushThrough; // 0: nobody waits for a flush

    // Set by the loop, read by others.
    volatile ForwardingStatus _status = new();
    volatile TaskCompletionSource _progress = NewPulse();
    long _settledThrough;
    long _turns;

    // What those who flush wait for; guarded by itself.
    readonly List<long> _flushes = [];

    // Used only by the loop.
    readonly Dispatcher _dispatcher;
    int _stumbles;

    // Set by the loop, taken back by the one who waits.
    volatile ISink? _waitingFor;

    public Forwarder(
        TelemetryBuffer buffer,
        IReadOnlyDictionary<SinkKind, ISink> sinks,
        BatchEncoder encoder,
        TimeProvider timeProvider,
        Random random,
        ILogger<Forwarder> logger)
    {
        _buffer = buffer;
        _timeProvider = timeProvider;
        _random = random;
        _logger = logger;
        _dispatcher = new(buffer, sinks, encoder, timeProvider, random, logger, Wake)
        {
            SendTook =
            took => SendTook?.Invoke(took)
        };
        _buffer.Committed += Wake;
        _buffer.ReadingsReturned += Rewind;
    }

    /// <summary>Raised with the time from sending a batch to its answer. Handlers only count.</summary>
    public event Action<TimeSpan>? SendTook;

    public ForwardingStatus Status => _status with { Paused = _paused };

    /// <summary>Turns of the loop: it moves soon after <see cref="Nudge"/> while the loop lives.</summary>
    public long Turns => Volatile.Read(ref _turns);

    /// <summary>Lets the loop look at the world once.</summary>
    public void Nudge() => Wake();

    /// <summary>New settings are in force for the next batch; those under way are not touched.</summary>
    public void Apply(ForwardingSettings settings)
    {
        // A message holds one reading then, so there is nothing to wait for either.
        if (settings is { Sink: SinkKind.IotHub, MessageFormat: MessageFormat.Pnp }) settings =
            settings with { BatchSize = 1 };
        if (settings == _settings) return;
        _settings = settings;
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

    /// <summary>Sends everything that is there now without waiting for full batches, a rate or the day's quota, until
    /// the time is over.</summary>
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
        ChangeFlushes(flushes => flushes.Add(target));
        _tryNow = true;
        Wake();
        try
        {
            while (true)
            {
                var progress = _progress.Task;
                if (Volatile.Read(ref _settledThrough) >= target) return true;
                var left = timeout - _timeProvider.GetElapsedTime(started);
                if (left <= TimeSpan.Zero) return false;
                await progress.WaitAsync(left, _timeProvider, cancellationToken)
                    .ConfigureAwait(
                        ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
                cancellationToken.ThrowIfCancellationRequested();
            }
        }
        finally
        {
            ChangeFlushes(flushes => flushes.Remove(target));
            Wake();
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
            Volatile.Write(ref _turns, _turns + 1);
            try
            {
                var wait = Step(sends.Token);
                if (_dispatcher.WaitsFor is { } sink) WakeWhenReady(sink, stoppingToken);
                await WaitAsync(wait, stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                break;
            }
            catch (Exception exception)
            {
                // The buffer could not be read, say: look again later.
                var delay = Backoff.Next(++_stumbles, Circuit.BackoffBase, Circuit.BackoffMax, _random.NextDouble());
                Log.ForwarderFailed(_logger, delay.TotalSeconds, exception);
                await Task.Delay(delay, _timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        await Task.WhenAny(_dispatcher.UnderWay, Task.Delay(StopPatience, _timeProvider, CancellationToken.None));
        await sends.CancelAsync();
        _dispatcher.Close();
    }

    TimeSpan? Step(CancellationToken sendToken)
    {
        if (_tryNow)
        {
            _tryNow = false;
            _dispatcher.TryNow();
        }

        if (_rewind)
        {
            _rewind = false;
            _dispatcher.Rewind();
        }

        var wait = _dispatcher.Step(_settings, _paused, Volatile.Read(ref _flushThrough), sendToken);
        _stumbles = 0;
        _status = _dispatcher.Status;
        Volatile.Write(ref _settledThrough, _dispatcher.SettledThrough);
        Interlocked.Exchange(ref _progress, NewPulse()).TrySetResult();
        return wait;
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

        await ((Task)woken).ConfigureAwait(
            ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        cancellationToken.ThrowIfCancellationRequested();
    }

    void ChangeFlushes(Action<List<long>> change)
    {
        lock (_flushes)
        {
            change(_flushes);
            Volatile.Write(ref _flushThrough, _flushes.DefaultIfEmpty().Max());
        }
    }

    void Rewind()
    {
        _rewind = true;
        Wake();
    }

    void Wake() => _wake.Writer.TryWrite(true);

    static TaskCompletionSource NewPulse() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
