using System.Collections.Frozen;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>
/// The units of one sensor's values. They are included in the first reading with values that is stored after a start,
/// in the first one after a unit was added or changed, and once a day: a receiver needs no table of chips, and readings
/// stay small. Used by one loop, except <see cref="All"/> and <see cref="Forget"/>.
/// </summary>
internal sealed class SensorUnits(SensorSettings settings, TimeProvider timeProvider)
{
    /// <summary>The interval at which units are repeated: a receiver may have lost older readings.</summary>
    public static readonly TimeSpan RepeatEvery = TimeSpan.FromDays(1);

    readonly ByValue<Curve>? _curve = settings.Get(CommonOptions.Curve);
    readonly ByValue<double>? _scale = settings.Get(CommonOptions.Scale);
    readonly string? _ofAll = settings.Kind.Unit(settings);
    readonly TextByValue? _given = settings.Get(CommonOptions.Units);
    readonly FrozenDictionary<string, string> _declared = settings.Kind.ValuesOf(settings)
        .ToFrozenDictionary(value => value.Name, value => value.Unit, StringComparer.Ordinal);

    // Replaced as a whole, when a unit is reported that is not in it.
    volatile Dictionary<string, string> _reported = [];
    volatile bool _isForgotten = true;
    long _reportedAt;

    /// <summary>The units that have been reported, by value. Any thread.</summary>
    public IReadOnlyDictionary<string, string> All => _reported;

    /// <summary>The units to send with the values of a reading that is stored; empty when the receiver has them.
    /// </summary>
    public IReadOnlyList<KeyValuePair<string, string>> Report(Measurement measurement)
    {
        if (measurement.Values.Count == 0) return [];
        var reported = _reported;
        var isDue = _isForgotten || timeProvider.GetElapsedTime(_reportedAt) >= RepeatEvery;
        for (var i = 0; !isDue && i < measurement.Values.Count; i++)
        {
            var name = measurement.Values[i].Key;
            isDue = UnitOf(name, measurement) is { } unit && unit != reported.GetValueOrDefault(name);
        }

        if (!isDue) return [];
        var units = new List<KeyValuePair<string, string>>(measurement.Values.Count);
        foreach (var (name, _) in measurement.Values)
        {
            if (UnitOf(name, measurement) is { } unit) units.Add(new(name, unit));
        }

        _isForgotten = false;
        _reportedAt = timeProvider.GetTimestamp();
        _reported = new(reported.Concat(units).GroupBy(unit => unit.Key, StringComparer.Ordinal)
            .Select(unit => unit.Last()), StringComparer.Ordinal);
        return units;
    }

    /// <summary>Sends the units again with the next reading, since the reading with them was not stored. Any
    /// thread.</summary>
    public void Forget() => _isForgotten = true;

    /// <summary>Null: not known. After a scale or a curve, a value no longer has the unit of its kind.</summary>
    string? UnitOf(string name, Measurement measurement)
    {
        if ((_given?.For(name) ?? _ofAll) is { } given) return given;
        if ((_scale?.For(name) is { } scale && scale != 1) || _curve?.For(name) is not null) return null;
        var unit = measurement.Units?.FirstOrDefault(unit => unit.Key == name).Value
            ?? _declared.GetValueOrDefault(name);
        return string.IsNullOrEmpty(unit) ? null : unit;
    }
}
