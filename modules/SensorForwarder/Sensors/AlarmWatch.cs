using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>A change of an alarm's state.</summary>
/// <param name="Held">For how long the condition had held when the alarm was raised; zero when it is cleared.</param>
internal readonly record struct AlarmChange(bool IsRaised, TimeSpan Held);

/// <summary>
/// Decides from the readings of a sensor when an alarm is raised and cleared. The caller passes the time and the
/// alarm's state, and keeps the state, so a change that could not be stored is proposed again with the next reading.
/// Used by one loop.
/// </summary>
/// <param name="rule">What it watches for.</param>
internal sealed class AlarmWatch(AlarmRule rule)
{
    readonly ChangeWindow? _window = rule.Condition == AlarmCondition.ChangesBy ? new(rule.For) : null;
    TimeSpan? _holdsSince;
    TimeSpan _seen; // the last reading with values

    public AlarmRule Rule => rule;

    /// <param name="reading">Without values if the sensor could not be read, or has nothing new.</param>
    /// <param name="now">The time of the reading, since this was created.</param>
    /// <param name="isOld">Whether it is unknown when the values were measured: they do not end a silence.</param>
    /// <returns>The change of the state; null: unchanged.</returns>
    public AlarmChange? Observe(Reading reading, TimeSpan now, bool isRaised, bool isOld = false)
    {
        var (before, isSign) = (_seen, reading.Values.Count > 0 && !isOld);
        if (isSign) _seen = now;
        if (Holds(reading, now, isRaised, isSign) is not { } holds) return null;
        if (!holds)
        {
            _holdsSince = null;
            return isRaised ? new(false, TimeSpan.Zero) : null;
        }

        // A change has no duration, and a silence has lasted since the last values.
        var (since, patience) = rule.Condition switch
        {
            AlarmCondition.SilentForSeconds => (before, TimeSpan.Zero),
            AlarmCondition.ChangesBy => (now, TimeSpan.Zero),
            _ => (_holdsSince ??= now, rule.For),
        };
        return isRaised || now - since < patience ? null : new(true, now - since);
    }

    /// <returns>Whether the condition holds; null: the reading does not show it.</returns>
    bool? Holds(Reading reading, TimeSpan now, bool isRaised, bool isSign) => rule.Condition switch
    {
        AlarmCondition.Bad => reading.Quality == ReadingQuality.Bad ? true : reading.Values.Count > 0 ? false : null,
        AlarmCondition.SilentForSeconds => isSign ? false
            : now - _seen >= TimeSpan.FromSeconds(rule.Threshold) ? true : null,
        _ => ValueIn(reading) is { } value ? Holds(value, now, isRaised) : null,
    };

    bool? Holds(double value, TimeSpan now, bool isRaised) => rule.Condition switch
    {
        AlarmCondition.Above => value > (isRaised ? rule.Threshold - rule.Hysteresis : rule.Threshold),
        AlarmCondition.Below => value < (isRaised ? rule.Threshold + rule.Hysteresis : rule.Threshold),
        _ => HasChanged(_window!, value, now),
    };

    // Only a full window shows that the value has not changed. After a start the window is empty.
    bool? HasChanged(ChangeWindow window, double value, TimeSpan now)
    {
        window.Add(value, now);
        return window.Change > rule.Threshold ? true : window.IsWhole ? false : null;
    }

    double? ValueIn(Reading reading)
    {
        foreach (var (name, value) in reading.Values)
        {
            if (name == rule.Value && double.IsFinite(value)) return value;
        }

        return null;
    }
}
