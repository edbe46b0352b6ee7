using SensorForwarder.Time;

namespace SensorForwarder.Intake;

/// <summary>The state of a source at one point in time. Immutable.</summary>
/// <param name="Name">The entry and the sender: <c>http 10.0.0.7</c>, <c>enqueue</c>.</param>
/// <param name="LastSeen">When its last request arrived, stored or refused; null: there was none.</param>
/// <param name="Accepted">Readings that were stored.</param>
/// <param name="Refused">Requests that were refused, by reason.</param>
/// <param name="Reason">The answer to the last refused request; null: there was none.</param>
/// <param name="IsSilent">Whether it has sent nothing for longer than its maximum.</param>
internal sealed record IntakeSourceStatus(
    string Name, Moment? LastSeen, long Accepted, IReadOnlyDictionary<IntakeOutcome, long> Refused, string? Reason,
    bool IsSilent);

/// <summary>A sender of readings: counts its readings, and limits their rate. Thread-safe.</summary>
internal sealed class IntakeSource(string name, IntakeOptions options, TimeProvider timeProvider)
{
    // The allowance for a sender that was offline and sends a backlog.
    const int BurstSeconds = 10;

    readonly Lock _gate = new();
    readonly Moment _since = Moment.Now(timeProvider);

    // Guarded by _gate.
    readonly Dictionary<IntakeOutcome, long> _refused = [];
    double _allowance = (double)options.ReadingsPerSecond * BurstSeconds;
    long _allowanceAt = timeProvider.GetTimestamp();
    Moment? _lastSeen;
    long _accepted;
    string? _reason;

    public string Name => name;

    /// <summary>How long the source may be silent; zero: no limit.</summary>
    public TimeSpan MaxSilence { get; init; } = options.MaxSilence;

    public IntakeSourceStatus Status
    {
        get
        {
            lock (_gate)
                return new(
                    name, _lastSeen, _accepted, new Dictionary<IntakeOutcome, long>(_refused), _reason,
                    MaxSilence > TimeSpan.Zero && (_lastSeen ?? _since).Age(timeProvider) > MaxSilence);
        }
    }

    /// <summary>Counts a request against the allowance, if any is left. A request may exceed the rest of the allowance;
    /// later requests then have to wait.</summary>
    /// <returns>Null: accepted; otherwise the refusal.</returns>
    public IntakeAnswer? Take(int readings, long bytes)
    {
        if (options.ReadingsPerSecond == 0) return null;
        lock (_gate)
        {
            Refill();
            if (_allowance < 0)
                return new(
                    IntakeOutcome.TooMuch,
                    $"{name} sends more than {options.ReadingsPerSecond} readings per second "
                        + "(Intake__ReadingsPerSecond)",
                    TimeSpan.FromSeconds(Math.Max(1, -_allowance / options.ReadingsPerSecond)));
            _allowance -= Math.Max(readings, bytes >> 10);
            return null;
        }
    }

    /// <summary>Time until <see cref="Take"/> accepts a request; zero: now.</summary>
    public TimeSpan WaitTime
    {
        get
        {
            if (options.ReadingsPerSecond == 0) return TimeSpan.Zero;
            lock (_gate)
            {
                Refill();
                return _allowance < 0 ? TimeSpan.FromSeconds(-_allowance / options.ReadingsPerSecond) : TimeSpan.Zero;
            }
        }
    }

    /// <summary>Counts the answer to a request.</summary>
    public void Count(IntakeAnswer answer, int readings)
    {
        lock (_gate)
        {
            _lastSeen = Moment.Now(timeProvider);
            if (answer.Outcome == IntakeOutcome.Stored)
            {
                _accepted += readings;
                return;
            }

            _refused[answer.Outcome] = _refused.GetValueOrDefault(answer.Outcome) + 1;
            _reason = answer.Reason;
        }
    }

    void Refill()
    {
        var now = timeProvider.GetTimestamp();
        _allowance = Math.Min(
            (double)options.ReadingsPerSecond * BurstSeconds,
            _allowance + (timeProvider.GetElapsedTime(_allowanceAt, now).TotalSeconds * options.ReadingsPerSecond));
        _allowanceAt = now;
    }
}
