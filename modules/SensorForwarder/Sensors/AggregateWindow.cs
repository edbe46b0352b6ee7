using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>
/// Collects the readings of one sensor, and makes one reading of all in a window of <c>aggregateSeconds</c>. Windows
/// begin at multiples of their length in UTC. Memory is constant for each value. Used by one loop.
/// </summary>
/// <param name="length">A multiple of a second.</param>
internal sealed class AggregateWindow(TimeSpan length, TimeSpan interval, TimeProvider timeProvider)
{
    // Hides binary rounding in means, as Conditioning does in values.
    const int Decimals = 9;

    // The wall clock may be slewed by this much between two readings, and by a thousandth of the time; more is a step.
    static readonly TimeSpan Slew = TimeSpan.FromSeconds(1);

    readonly OrderedDictionary<string, Sums> _values = new(StringComparer.Ordinal);

    long _number; // of the open window, since 1970
    bool _isOpen;
    bool _isPartial;
    bool _hasBegun; // a window was opened since the start
    DateTimeOffset _lastTime;
    long _lastTimestamp;
    Reading? _last; // the last one with values in the open window
    Reading? _doubted; // the last uncertain one
    long _readings;
    long _uncertain;
    long _bad;

    /// <summary>The number of windows that were opened.</summary>
    public long Opened { get; private set; }

    /// <summary>Whether the open window has values.</summary>
    public bool HasValues => _last is not null;

    /// <summary>The window so far, as it would be stored if it ended now; null: it has no values.</summary>
    public Reading? SoFar => Make(isPartial: true);

    /// <summary>Adds a reading.</summary>
    /// <returns>The reading of the window before, if this is the first one after its end and it had values.</returns>
    public Reading? Add(Reading reading)
    {
        var closed = Follow();
        if (reading.Quality == ReadingQuality.Bad)
        {
            _bad++;
            return closed;
        }

        if (reading.Values.Count == 0) return closed; // nothing new
        _readings++;
        _last = reading;
        if (reading.Quality == ReadingQuality.Uncertain)
        {
            _uncertain++;
            _doubted = reading;
        }

        foreach (var (name, value) in reading.Values)
            _values[name] = _values.TryGetValue(name, out var sums) ? sums.With(value) : Sums.Of(value);
        return closed;
    }

    /// <summary>Ends the window before its time.</summary>
    /// <returns>Its reading; null: it had no values.</returns>
    public Reading? End()
    {
        var ended = SoFar;
        Clear();
        _isOpen = false;
        return ended;
    }

    /// <summary>Opens the window of the current time if it is not open yet, and ends the previous one.</summary>
    Reading? Follow()
    {
        var (now, timestamp) = (timeProvider.GetUtcNow(), timeProvider.GetTimestamp());
        var number = (long)Math.Floor((now - DateTimeOffset.UnixEpoch) / length);
        var elapsed = timeProvider.GetElapsedTime(_lastTimestamp, timestamp);
        var isStep = _hasBegun && (now - _lastTime - elapsed).Duration() > Slew + (elapsed / 1000);
        (_lastTime, _lastTimestamp) = (now, timestamp);
        if (_isOpen && number == _number && !isStep) return null;

        var closed = _isOpen ? Make(_isPartial || isStep) : null;
        Clear();

        // A window without its first turn is partial. A later turn that is missing shows in the count of readings.
        var sinceBegin = now - DateTimeOffset.UnixEpoch - (number * length);
        _isPartial = (isStep || !_hasBegun) && sinceBegin >= interval;
        (_number, _isOpen, _hasBegun) = (number, true, true);
        Opened++;
        return closed;
    }

    Reading? Make(bool isPartial) => _last is not { } last ? null : last with
    {
        Quality = _doubted is null ? ReadingQuality.Good : ReadingQuality.Uncertain,
        Reason = _doubted?.Reason,
        Values = [.. _values.Select(value => KeyValuePair.Create(value.Key, value.Value.Mean))],
        Aggregate = new(
            (int)length.TotalSeconds, _readings,
            [.. _values.Select(value => KeyValuePair.Create(value.Key, value.Value.Range))])
        {
            Uncertain = _uncertain,
            Bad = _bad,
            IsPartial = isPartial,
        },
    };

    void Clear()
    {
        _values.Clear();
        (_last, _doubted) = (null, null);
        (_readings, _uncertain, _bad) = (0, 0, 0);
    }

    /// <summary>The mean is updated instead of a sum, which would overflow or lose digits for large numbers.</summary>
    readonly record struct Sums(ValueRange Range, double RawMean)
    {
        public double Mean => Math.Clamp(Math.Round(RawMean, Decimals), Range.Min, Range.Max);

        public static Sums Of(double value) => new(new(1, value, value, value), value);

        public Sums With(double value)
        {
            var count = Range.Count + 1;
            return new(
                new(count, Math.Min(Range.Min, value), Math.Max(Range.Max, value), value),
                RawMean + ((value / count) - (RawMean / count)));
        }
    }
}
