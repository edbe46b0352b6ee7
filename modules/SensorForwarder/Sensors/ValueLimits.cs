using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>
/// Downgrades a good measurement to uncertain when a value is outside <c>min</c> and <c>max</c>, or moved faster than
/// <c>maxChangePerSecond</c>. The value stays in the reading: the receiver decides. A jump is accepted if the next
/// reading confirms it. Used by one thread at a time.
/// </summary>
internal sealed class ValueLimits
{
    readonly ByValue<double>? _min;
    readonly ByValue<double>? _max;
    readonly Plausibility? _pace;

    public ValueLimits(SensorSettings settings, TimeProvider timeProvider)
    {
        (_min, _max) = (settings.Get(CommonOptions.Min), settings.Get(CommonOptions.Max));
        if (settings.Get(CommonOptions.MaxChange) is not { } change) return;

        // A requested reading may follow another at once: noise would look like a fast change.
        _pace = new Plausibility(
            timeProvider, name => change.For(name) is { } perSecond ? new Pace(name, 0, perSecond) : null)
        {
            ShortestTime = settings.Interval,
        };
    }

    public Measurement Check(Measurement measured)
    {
        if (_min is null && _max is null && _pace is null) return measured;
        if (measured.Quality == ReadingQuality.Bad) return measured;

        // Each value is compared with the previous one, whatever the quality.
        var jump = _pace?.FindJump(measured.Values);
        if (measured.Quality != ReadingQuality.Good) return measured;
        if (FindBeyond(measured) is { } beyond) return Doubted(FaultReason.Limit, beyond);
        return jump is null
            ? measured
            : Doubted(FaultReason.Jump, $"{jump}, faster than {CommonOptions.MaxChange.Name} allows");

        Measurement Doubted(string reason, string detail) =>
            measured with { Quality = ReadingQuality.Uncertain, Reason = reason, Detail = detail };
    }

    string? FindBeyond(Measurement measured)
    {
        foreach (var (name, value) in measured.Values)
        {
            if (_min?.For(name) is { } min && value < min)
                return FormattableString.Invariant($"{name} {value} is below {CommonOptions.Min.Name}, {min}");
            if (_max?.For(name) is { } max && value > max)
                return FormattableString.Invariant($"{name} {value} is above {CommonOptions.Max.Name}, {max}");
        }

        return null;
    }
}
