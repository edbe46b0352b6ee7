using Microsoft.Extensions.Logging;
using SensorForwarder.Readings;
using SensorForwarder.Time;

namespace SensorForwarder.Sensors;

/// <summary>
/// An open sensor. Retries transient failures at once; after consecutive failures it closes the device and reopens it
/// later, since it may have been reset or replaced. Used by one thread at a time.
/// </summary>
internal sealed class SensorSession(
    SensorSettings settings, SensorWorld world, BusBreaker? breaker, double jitter, ILogger logger) : IDisposable
{
    static readonly TimeSpan[] IoRetryAfter = [TimeSpan.FromMilliseconds(10), TimeSpan.FromMilliseconds(50)];
    static readonly TimeSpan ReopenBase = TimeSpan.FromSeconds(1);
    static readonly TimeSpan ReopenMax = TimeSpan.FromSeconds(60);
    const int PollsBeforeReopen = 3;

    readonly TimeProvider _timeProvider = world.TimeProvider;
    readonly Conditioning _conditioning = new(settings);
    readonly ValueLimits _limits = new(settings, world.TimeProvider);
    readonly IReadOnlyList<SensorValue> _values = settings.Kind.ValuesOf(settings);
    ISensor? _sensor;
    Measurement _failure;
    int _failedPolls;
    long _closedAt;
    bool _hasThrown;

    /// <summary>See <see cref="ISensor.News"/>; also null while the device is closed. Any thread.</summary>
    public Task? News => Volatile.Read(ref _sensor)?.News;

    /// <summary>Measures once, according to the settings. Blocks; throws only if cancelled.</summary>
    public Measurement Measure(CancellationToken cancellationToken)
    {
        if (IsResting) return _failure;
        if (breaker?.MayTry() == false)
            return Measurement.Bad(FaultReason.BusTimeout, "the bus has timed out; it is probed every 30 s. A sensor "
                + "may hold its lines: power-cycle it");

        var samples = new List<Measurement>(_conditioning.Samples);
        do
        {
            samples.Add(Sample(cancellationToken));
        }
        while (samples.Count < _conditioning.Samples && MayHelpToRepeat(samples[^1]));

        var measurement = _limits.Check(_conditioning.Apply(samples));
        Note(measurement);
        return measurement;
    }

    public void Dispose() => Close();

    /// <summary>Whether the device stays closed, until the backoff has elapsed.</summary>
    bool IsResting => _failedPolls >= PollsBeforeReopen
        && _timeProvider.GetElapsedTime(_closedAt) < Backoff.Next(
            _failedPolls - PollsBeforeReopen + 1, ReopenBase, ReopenMax, jitter);

    Measurement Sample(CancellationToken cancellationToken)
    {
        for (var attempt = 0; ; attempt++)
        {
            var measurement = MeasureOnce(cancellationToken);
            if (HasUsedBus(measurement.Reason)) breaker?.Note(measurement.Reason == FaultReason.BusTimeout);
            if (measurement.Quality != ReadingQuality.Bad) return measurement;
            switch (measurement.Reason)
            {
                case FaultReason.Io when attempt < IoRetryAfter.Length:
                    _timeProvider.Pause(IoRetryAfter[attempt], cancellationToken);
                    break;
                case FaultReason.Crc when attempt == 0:
                    break;
                case FaultReason.Invalid when attempt == 0:
                    Close(); // it may have been reset: open it again
                    break;
                default:
                    return measurement;
            }
        }
    }

    Measurement MeasureOnce(CancellationToken cancellationToken)
    {
        try
        {
            _sensor ??= settings.Kind.Make(settings, world);
            var measuring = _sensor.MeasureAsync(cancellationToken);
            var measurement = measuring.IsCompleted ? measuring.Result : measuring.AsTask().GetAwaiter().GetResult();
            _hasThrown = false;
            return CheckRange(measurement);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw;
        }
        catch (Exception exception) when (exception is SensorFault or IOException or UnauthorizedAccessException)
        {
            var fault = SensorFault.From(exception, settings.Kind.Name);
            return Measurement.Bad(fault.Reason, fault.Message);
        }
        catch (Exception exception)
        {
            if (!_hasThrown) SensorsLog.SensorThrew(logger, settings.Name, exception);
            _hasThrown = true;
            return Measurement.Bad(FaultReason.Error, exception.Message);
        }
    }

    /// <summary>Downgrades a good measurement with a value out of range to uncertain.</summary>
    Measurement CheckRange(Measurement measurement)
    {
        if (measurement.Quality != ReadingQuality.Good) return measurement;
        foreach (var (name, value) in measurement.Values)
        {
            foreach (var known in _values)
            {
                if (known.Name != name || known.CanBe(value)) continue;
                return measurement with
                {
                    Quality = ReadingQuality.Uncertain,
                    Reason = FaultReason.Range,
                    Detail = FormattableString.Invariant(
                        $"{name} {value} is outside the range that the sensor can measure, {known.Range}"),
                };
            }
        }

        return measurement;
    }

    static bool HasUsedBus(string? reason) =>
        reason is not (FaultReason.KernelDriver or FaultReason.Absent or FaultReason.Denied or FaultReason.Busy
            or FaultReason.Error);

    static bool MayHelpToRepeat(Measurement sample) =>
        sample.Quality != ReadingQuality.Bad
            || sample.Reason is FaultReason.Io or FaultReason.Crc or FaultReason.Invalid;

    void Note(Measurement measurement)
    {
        if (measurement.Quality != ReadingQuality.Bad)
        {
            _failedPolls = 0;
            return;
        }

        _failure = measurement;
        _failedPolls++;
        if (measurement.Reason == FaultReason.Invalid || _failedPolls >= PollsBeforeReopen) Close();
        _closedAt = _timeProvider.GetTimestamp();
    }

    void Close()
    {
        try
        {
            _sensor?.Dispose();
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // Closing failed; the device is considered closed.
        }

        _sensor = null;
    }
}
