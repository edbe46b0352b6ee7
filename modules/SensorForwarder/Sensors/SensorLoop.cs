using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Sensors.Kernel;

namespace SensorForwarder.Sensors;

/// <summary>
/// Reads one sensor on its schedule and hands every reading to the buffer. The schedule does not drift: times are
/// multiples of the interval after the first. What a sensor says between its turns is read when it comes. It never
/// waits for storage or network, and nothing that the sensor does ends it.
/// </summary>
internal sealed class SensorLoop(
    SensorSettings settings,
    SensorSession session,
    BusWorker? bus,
    TelemetryBuffer buffer,
    TimeProvider timeProvider,
    double startJitter,
    ILogger logger) : IAsyncDisposable
{
    /// <summary>A bad sensor says so at once and then this often, not at every turn: that
    /// would only cost money.</summary>
    public static readonly TimeSpan RepeatBadEvery = TimeSpan.FromMinutes(5);

    static readonly TimeSpan SampleTimeout = TimeSpan.FromSeconds(10);
    static readonly TimeSpan StartJitterMax = TimeSpan.FromSeconds(1);

    // What a sensor says between its turns can't be read: not asked again before this, since it says so all the while.
    static readonly TimeSpan NewsRetryAfter = TimeSpan.FromSeconds(1);

    readonly CancellationTokenSource _stop = new();
    readonly Deadband _deadband = new(settings, timeProvider);
    readonly TimeSpan _measureTimeout = SampleTimeout * settings.Get(CommonOptions.Samples);
    readonly string? _label = settings.Get(CommonOptions.Label);
    readonly string? _unit = FileSensor.UnitOf(settings);
    readonly SemaphoreSlim _turn = new(1); // the schedule and "read now" take turns
    string? _badReason;
    long _badSent;
    long _due = timeProvider.GetTimestamp(); // the next turn, as a timestamp
    Task _loop = Task.CompletedTask;
    volatile SensorHealth _health =
        new(settings.Name, settings.Kind, SensorState.Starting, null, 0, 0, 0, null);

    public SensorSettings Settings => settings;

    public SensorHealth Health => _health;

    /// <summary>Whether a turn is overdue by more than a measurement may take and this.</summary>
    public bool IsStuck(TimeSpan patience) =>
        timeProvider.GetElapsedTime(Volatile.Read(ref _due)) > patience + _measureTimeout;

    public void Start() => _loop = Task.Run(RunAsync);

    /// <summary>No reading is taken after this returns; what hangs in a driver is left behind.</summary>
    public async ValueTask DisposeAsync()
    {
        // Neither is disposed: a call of ReadNowAsync may come late, and what was left behind may look at them.
        await _stop.CancelAsync();
        await _loop;
        await _turn.WaitAsync(CancellationToken.None); // until a reading that was asked for has ended
        _turn.Release();
        if (bus is null) session.Dispose();
        else bus.Post(session.Dispose);
    }

    /// <summary>Reads the sensor once, now, and stores the reading; null when the loop was stopped before.</summary>
    public async Task<Reading?> ReadNowAsync()
    {
        try
        {
            return await TakeReadingAsync(isAsked: true);
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            return null;
        }
    }

    async Task RunAsync()
    {
        var spread = settings.Interval < StartJitterMax ? settings.Interval : StartJitterMax;
        if (!await DelayAsync(spread * startJitter)) return;

        var first = timeProvider.GetTimestamp();
        for (long turn = 1; ; turn++)
        {
            await TryTakeReadingAsync();
            if (_stop.IsCancellationRequested) return;
            var elapsed = timeProvider.GetElapsedTime(first);
            var due = (long)Math.Ceiling(elapsed / settings.Interval);
            if (due > turn)
            {
                _health = _health with { Missed = _health.Missed + due - turn };
                turn = due;
            }

            if (!await WaitForTurnAsync(first, settings.Interval * turn)) return;
        }
    }

    /// <summary>Waits until a time after the first reading, and meanwhile takes what the
    /// sensor says by itself.</summary>
    async Task<bool> WaitForTurnAsync(long first, TimeSpan at)
    {
        var untilThen = Math.Max(0, (at - timeProvider.GetElapsedTime(first)).TotalSeconds);
        Volatile.Write(ref _due, timeProvider.GetTimestamp() + (long)(untilThen * timeProvider.TimestampFrequency));
        while (session.News is { } news)
        {
            var rest = at - timeProvider.GetElapsedTime(first);
            if (rest <= TimeSpan.Zero) return !_stop.IsCancellationRequested;
            if (!news.IsCompleted)
            {
                using var waiting = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                await Task.WhenAny(news, Task.Delay(rest, timeProvider, waiting.Token));
                await waiting.CancelAsync();
            }

            if (_stop.IsCancellationRequested) return false;
            if (news.IsCompleted && await TryTakeReadingAsync() is null or { Quality: ReadingQuality.Bad })
                await DelayAsync(rest < NewsRetryAfter ? rest : NewsRetryAfter);
        }

        return await DelayAsync(at - timeProvider.GetElapsedTime(first));
    }

    /// <returns>Null: it is time to stop, or taking it failed.</returns>
    async Task<Reading?> TryTakeReadingAsync()
    {
        try
        {
            return await TakeReadingAsync(isAsked: false);
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            return null;
        }
        catch (Exception exception)
        {
            Log.SensorLoopFailed(logger, settings.Name, exception);
            return null;
        }
    }

    async Task<Reading> TakeReadingAsync(bool isAsked)
    {
        await _turn.WaitAsync(_stop.Token);
        try
        {
            return await TakeReadingInTurnAsync(isAsked);
        }
        finally
        {
            _turn.Release();
        }
    }

    async Task<Reading> TakeReadingInTurnAsync(bool isAsked)
    {
        var measurement = await MeasureAsync();
        var reading = new Reading
        {
            Sensor = settings.Name,
            Kind = settings.Kind,
            Label = _label,
            Unit = _unit,
            Time = measurement.Time ?? timeProvider.GetUtcNow(),
            Quality = measurement.Quality,
            Reason = measurement.Reason,
            Values = measurement.Values,
        };
        if (Note(reading, measurement.Detail, isAsked)) _ = StoreAsync(reading);
        return reading;
    }

    Task<Measurement> MeasureAsync() => bus is null
        ? Task.FromResult(session.Measure(_stop.Token))
        : bus.RunAsync(() => session.Measure(_stop.Token), _measureTimeout, _stop.Token);

    /// <summary>Keeps account; says whether the reading is worth storing.</summary>
    bool Note(Reading reading, string? detail, bool isAsked)
    {
        var health = _health;
        if (reading is { Quality: ReadingQuality.Good, Values.Count: 0 }) return false; // nothing new
        if (reading.Quality != ReadingQuality.Bad)
        {
            if (health.State == SensorState.Failing) Log.SensorRecovered(logger, settings.Name, health.Failures);
            _badReason = null;
            _health = health with
            {
                State = SensorState.Working,
                Reason = reading.Reason,
                Detail = detail,
                Readings = health.Readings + 1,
                Last = reading,
            };
            return _deadband.IsNews(reading) || isAsked;
        }

        if (health.State != SensorState.Failing || health.Reason != reading.Reason)
        {
            Log.SensorFails(
                logger, settings.Name, settings.Kind, reading.Reason ?? "", detail is null
                    ? ""
                    : $": {LogText.Clean(detail)}");
        }

        _health = health with
        {
            State = SensorState.Failing,
            Reason = reading.Reason,
            Detail = detail,
            Failures = health.Failures + 1,
        };
        if (_badReason == reading.Reason && timeProvider.GetElapsedTime(_badSent) < RepeatBadEvery) return false;
        _badReason = reading.Reason;
        _badSent = timeProvider.GetTimestamp();
        _deadband.IsNews(reading); // the next good one is a change
        return true;
    }

    async Task StoreAsync(Reading reading)
    {
        try
        {
            await buffer.EnqueueAsync(reading, CancellationToken.None);
        }
        catch (Exception exception) when (exception is BufferRejectedException or BufferUnavailableException)
        {
            // What the buffer refuses it counts and reports; after it was closed, at the very end,
            // nothing is counted any more.
        }
    }

    async Task<bool> DelayAsync(TimeSpan delay)
    {
        if (delay > TimeSpan.Zero)
            await Task.Delay(delay, timeProvider, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return !_stop.IsCancellationRequested;
    }
}
