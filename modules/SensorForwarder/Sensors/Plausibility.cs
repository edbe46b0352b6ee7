namespace SensorForwarder.Sensors;

/// <summary>The largest plausible change of a value between two readings.</summary>
/// <param name="AtOnce">Allowed regardless of the time between them.</param>
/// <param name="PerSecond">Allowed in addition for each second between them.</param>
internal sealed record Pace(string Name, double AtOnce, double PerSecond);

/// <summary>
/// Detects implausible jumps of a value. Bit errors of a chip without a checksum go unnoticed otherwise, for instance
/// when the Raspberry Pi's I2C controller (up to model 3 at least) cuts clock stretching short. A jump is accepted if
/// the next reading confirms it. Used by one thread at a time.
/// </summary>
/// <param name="paceOf">The pace of a value, by name; null: it may change at any pace.</param>
internal sealed class Plausibility(TimeProvider timeProvider, Func<string, Pace?> paceOf)
{
    // Hides binary rounding: 21.1 - 20.1 is 1.0000000000000018.
    const double Rounding = 1e-9;

    // By value: the last accepted number and the last read one.
    readonly Dictionary<string, (Seen Believed, Seen Last)> _seen = [];

    public Plausibility(TimeProvider timeProvider, params Pace[] paces)
        : this(timeProvider, name => Array.Find(paces, pace => pace.Name == name))
    {
    }

    /// <summary>Two values count as at least this far apart in time.</summary>
    public TimeSpan ShortestTime { get; init; }

    /// <summary>What is wrong with the values; null: nothing.</summary>
    public string? FindJump(IReadOnlyList<KeyValuePair<string, double>> values)
    {
        string? jump = null;
        foreach (var (name, value) in values)
        {
            if (paceOf(name) is not { } pace) continue;
            var now = new Seen(value, timeProvider.GetTimestamp());
            if (!_seen.TryGetValue(name, out var before) || IsNear(pace, before.Believed, now)
                || IsNear(pace, before.Last, now))
            {
                _seen[name] = (now, now);
                continue;
            }

            _seen[name] = (before.Believed, now);
            jump ??= FormattableString.Invariant($"{name} jumped from {before.Believed.Value} to {value}");
        }

        return jump;
    }

    /// <summary>The jump of a chip, with what to do about it.</summary>
    public string? FindMisread(IReadOnlyList<KeyValuePair<string, double>> values) => FindJump(values) is { } jump
        ? $"{jump}: misread? If the chip stretches the clock, lower i2c_arm_baudrate"
        : null;

    /// <summary>Forgets the previous values, since the chip was reopened.</summary>
    public void Forget() => _seen.Clear();

    bool IsNear(Pace pace, Seen before, Seen now)
    {
        var elapsed = timeProvider.GetElapsedTime(before.Timestamp, now.Timestamp);
        var seconds = Math.Max(elapsed.TotalSeconds, ShortestTime.TotalSeconds);
        return Math.Abs(now.Value - before.Value)
            <= pace.AtOnce + (pace.PerSecond * seconds) + (Rounding * Math.Abs(before.Value));
    }

    readonly record struct Seen(double Value, long Timestamp);
}
