namespace SensorForwarder.Sensors.Drivers;

/// <summary>The largest plausible change of a value between two readings.</summary>
/// <param name="Name">The value.</param>
/// <param name="AtOnce">Allowed regardless of the time between them.</param>
/// <param name="PerSecond">Allowed in addition for each second between them.</param>
internal sealed record Pace(string Name, double AtOnce, double PerSecond);

/// <summary>
/// Detects implausible jumps of a value. Bit errors of a chip without a checksum go unnoticed otherwise, for instance
/// when the Raspberry Pi's I2C controller (up to model 3 at least) cuts clock stretching short. A jump is accepted if
/// the next reading confirms it.
/// </summary>
internal sealed class Plausibility(TimeProvider timeProvider, params Pace[] paces)
{
    // By value: the last accepted number and the last read one.
    readonly Dictionary<string, (Seen Believed, Seen Last)> _seen = [];

    /// <summary>What is wrong with the values; null: nothing.</summary>
    public string? FindJump(IEnumerable<KeyValuePair<string, double>> values)
    {
        string? jump = null;
        foreach (var (name, value) in values)
        {
            if (Array.Find(paces, pace => pace.Name == name) is not { } pace) continue;
            var now = new Seen(value, timeProvider.GetTimestamp());
            if (!_seen.TryGetValue(name, out var before) || IsNear(pace, before.Believed, now)
                || IsNear(pace, before.Last, now))
            {
                _seen[name] = (now, now);
                continue;
            }

            _seen[name] = (before.Believed, now);
            jump ??= FormattableString.Invariant($"{name} jumped from {before.Believed.Value} to {value}: misread? ")
                + "If the chip stretches the clock, lower i2c_arm_baudrate";
        }

        return jump;
    }

    /// <summary>Forgets the previous values, since the chip was reopened.</summary>
    public void Forget() => _seen.Clear();

    bool IsNear(Pace pace, Seen before, Seen now) => Math.Abs(now.Value - before.Value)
        <= pace.AtOnce + (pace.PerSecond * timeProvider.GetElapsedTime(before.Timestamp, now.Timestamp).TotalSeconds);

    readonly record struct Seen(double Value, long Timestamp);
}
