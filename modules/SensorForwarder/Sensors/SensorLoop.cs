using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors;

/// <summary>
/// Reads one sensor on its schedule and hands every reading to the buffer. The schedule does not drift: times are
/// multiples of the interval after the first, which is on a whole second of the monotonic clock, so that sensors are
/// read together and the device sleeps in between. Events of a sensor between its turns are read when they occur. The
/// loop never waits for storage or network, and no failure of the sensor ends it. Owned by
/// <see cref="SensorScheduler"/>; <see cref="Health"/> and <see cref="ReadNowAsync"/> may be used on any thread.
/// </summary>
internal sealed class SensorLoop(
    SensorSettings settings,
    SensorSession session,
    BusWorker? bus,
    SensorWindows? windows,
    SensorAlarms? alarms,
    TelemetryBuffer buffer,
    SensorClock clock,
    TimeProvider timeProvider,
    ILogger logger) : IAsyncDisposable
{
    /// <summary>A failing sensor stores a bad reading at once and then at this interval, not at every turn, which would
    /// cost traffic without information.</summary>
    public static readonly TimeSpan RepeatBadEvery = TimeSpan.FromMinutes(5);

    static readonly TimeSpan SampleTimeout = TimeSpan.FromSeconds(10);

    // Sensors that are read more often begin on a multiple of their interval.
    static readonly TimeSpan BeginsOn = TimeSpan.FromSeconds(1);

    // Pause after an event that can't be read: the sensor signals it continuously.
    static readonly TimeSpan NewsRetryAfter = TimeSpan.FromSeconds(1);

    readonly CancellationTokenSource _stop = new();
    readonly SensorUnits _units = new(settings, timeProvider);
    readonly Deadband _deadband = new(settings, timeProvider);
    readonly TimeSpan _measureTimeout = SampleTimeout * settings.Get(CommonOptions.Samples);
    readonly string? _label = settings.Get(CommonOptions.Label);
    readonly Tags _tags = settings.Get(CommonOptions.Tags);
    readonly string? _unit = settings.Kind.Unit(settings);
    readonly SemaphoreSlim _turn = new(1); // held by a scheduled reading or by ReadNowAsync
    string? _badReason;
    long _badSent;
    long _due = timeProvider.GetTimestamp(); // the next turn, as a timestamp
    Task _loop = Task.CompletedTask;
    volatile SensorHealth _health =
        new(settings.Name, settings.Kind.Name, SensorState.Starting, null, 0, 0, 0, null)
        {
            Tags = settings.Get(CommonOptions.Tags),
        };

    public SensorSettings Settings => settings;

    public SensorHealth Health => alarms is null ? _health : _health with { Alarms = alarms.Status };

    /// <summary>Whether a turn is overdue by more than the limit of a measurement plus this.</summary>
    public bool IsStuck(TimeSpan patience) =>
        timeProvider.GetElapsedTime(Volatile.Read(ref _due)) > patience + _measureTimeout;

    public void Start()
    {
        var first = clock.NextMultipleOf(settings.Interval < BeginsOn ? settings.Interval : BeginsOn);
        _loop = Task.Run(() => RunAsync(first));
    }

    /// <summary>No reading is taken after this returns; a hanging driver call is abandoned.</summary>
    public async ValueTask DisposeAsync()
    {
        // _stop and _turn are not disposed: a late call of ReadNowAsync or an abandoned driver call may still use them.
        await _stop.CancelAsync();
        await _loop;
        await Task.Yield(); // the loop may have ended on the clock's thread, on which callers must not continue
        await _turn.WaitAsync(CancellationToken.None); // until a requested reading has ended
        if (windows?.End() is { } rest && _deadband.IsNews(rest)) StoreWindow(windows, rest, new(rest.Values));
        windows?.Forget();
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

    async Task RunAsync(long first)
    {
        if (!await clock.UntilAsync(first, _stop.Token)) return;

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

            if (!await WaitForTurnAsync(first + clock.Ticks(settings.Interval * turn))) return;
        }
    }

    /// <summary>Waits until a timestamp and handles the events of the sensor meanwhile.</summary>
    async ValueTask<bool> WaitForTurnAsync(long at)
    {
        Volatile.Write(ref _due, at);
        while (session.News is { } news)
        {
            if (at <= timeProvider.GetTimestamp()) return !_stop.IsCancellationRequested;
            if (!news.IsCompleted)
            {
                using var waiting = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                await Task.WhenAny(news, clock.UntilAsync(at, waiting.Token).AsTask());
                await waiting.CancelAsync();
            }

            if (_stop.IsCancellationRequested) return false;
            if (news.IsCompleted && await TryTakeReadingAsync() is null or { Quality: ReadingQuality.Bad })
            {
                var again = timeProvider.GetTimestamp() + clock.Ticks(NewsRetryAfter);
                await clock.UntilAsync(Math.Min(again, at), _stop.Token);
            }
        }

        return await clock.UntilAsync(at, _stop.Token);
    }

    /// <returns>Null if the loop is stopping or the measurement failed.</returns>
    async ValueTask<Reading?> TryTakeReadingAsync()
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
            SensorsLog.SensorLoopFailed(logger, settings.Name, exception);
            return null;
        }
    }

    async ValueTask<Reading> TakeReadingAsync(bool isAsked)
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

    async ValueTask<Reading> TakeReadingInTurnAsync(bool isAsked)
    {
        var measurement = await MeasureAsync();
        var reading = new Reading
        {
            Sensor = settings.Name,
            Kind = settings.Kind.Name,
            Label = _label,
            Unit = _unit,
            Tags = _tags,
            Time = measurement.Time ?? timeProvider.GetUtcNow(),
            Quality = measurement.Quality,
            Reason = measurement.Reason,
            Values = measurement.Values,
        };
        alarms?.Observe(reading);
        if (windows?.Add(reading) is { } window && _deadband.IsNews(window))
            StoreWindow(windows, window, measurement with { Values = window.Values });
        if (Note(reading, measurement.Detail, isAsked)) StoreWithUnits(reading, measurement);
        windows?.Save();
        return reading;
    }

    /// <summary>Stores a reading, with the units of its values when a receiver may not know them.</summary>
    void StoreWithUnits(Reading reading, Measurement measurement)
    {
        if (WithUnits(reading, measurement) is { Units.Count: > 0 } withUnits) _ = StoreAsync(withUnits, null);
        else buffer.Enqueue(reading);
    }

    void StoreWindow(SensorWindows of, Reading window, Measurement measurement) =>
        of.Store(open => StoreAsync(WithUnits(window, measurement), open));

    Reading WithUnits(Reading reading, Measurement measurement)
    {
        if (_units.Report(measurement) is not { Count: > 0 } units) return reading;
        _health = _health with { Units = _units.All };
        return reading with { Units = units };
    }

    ValueTask<Measurement> MeasureAsync() => bus is null
        ? new(session.Measure(_stop.Token))
        : new(bus.RunAsync(() => session.Measure(_stop.Token), _measureTimeout, _stop.Token));

    /// <summary>Updates counters and state; returns whether to store the reading.</summary>
    bool Note(Reading reading, string? detail, bool isAsked)
    {
        var health = _health;
        if (reading is { Quality: ReadingQuality.Good, Values.Count: 0 }) return false; // nothing new
        if (reading.Quality != ReadingQuality.Bad)
        {
            if (health.State == SensorState.Failing) SensorsLog.SensorRecovered(logger, settings.Name, health.Failures);
            _badReason = null;
            _health = health with
            {
                State = SensorState.Working,
                Reason = reading.Reason,
                Detail = detail,
                Readings = health.Readings + 1,
                Last = reading,
                LastGood = reading.Quality == ReadingQuality.Good ? reading : health.LastGood,
            };
            return (windows is null && _deadband.IsNews(reading)) || isAsked;
        }

        if (health.State != SensorState.Failing || health.Reason != reading.Reason)
        {
            SensorsLog.SensorFails(
                logger, settings.Name, settings.Kind.Name, reading.Reason ?? "", detail is null
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

    /// <summary>Stores a reading that may have units, and a document with it; if the buffer refuses them, the next one
    /// has the units.</summary>
    async Task<bool> StoreAsync(Reading reading, (string Name, ReadOnlyMemory<byte> Content)? document)
    {
        try
        {
            await buffer.EnqueueAsync(reading, document, CancellationToken.None);
            return true;
        }
        catch (Exception exception) when (exception is BufferRejectedException or BufferUnavailableException)
        {
            if (reading.Units.Count > 0) _units.Forget();
            return false;
        }
    }
}
