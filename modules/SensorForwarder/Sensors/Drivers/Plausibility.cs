namespace SensorForwarder.Sensors.Drivers;

/// <summary>How far a value of the world moves between two readings.</summary>
/// <param name="Name">The value.</param>
/// <param name="AtOnce">However near they are.</param>
/// <param name="PerSecond">What each second between them adds.</param>
internal sealed record Pace(string Name, double AtOnce, double PerSecond);

/// <summary>
/// Notices a value that jumps further than the world does. A chip without a checksum can be misread and nobody is told:
/// a clock that is stretched is cut short by the Raspberry Pi's controller, up to model 3 at least. A jump that the
/// next reading confirms is believed.
/// </summary>
internal sealed class Plausibility(TimeProvider timeProvider, params Pace[] paces)
{
    // By value: what was believed last, and what was read last.
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

    /// <summary>Another chip begins.</summary>
    public void Forget() => _seen.Clear();

    bool IsNear(Pace pace, Seen before, Seen now) => Math.Abs(now.Value - before.Value)
        <= pace.AtOnce + (pace.PerSecond * timeProvider.GetElapsedTime(before.Timestamp, now.Timestamp).TotalSeconds);

    readonly record struct Seen(double Value, long Timestamp);
}
