namespace SensorForwarder.Sensors;

/// <summary>How far a reading can be trusted.</summary>
internal enum ReadingQuality
{
    /// <summary>Measured, checked, in range.</summary>
    Good,

    /// <summary>Measured, but something speaks against it; <see cref="Reading.Reason"/> says what.</summary>
    Uncertain,

    /// <summary>Not measured; <see cref="Reading.Values"/> is empty and
    /// <see cref="Reading.Reason"/> says why.</summary>
    Bad,
}

/// <summary>What one sensor said at one moment. Immutable; made by Sensors, stored by Buffer.</summary>
internal sealed record Reading
{
    /// <summary>The name that the settings give the sensor: 1..64 characters.</summary>
    public required string Sensor { get; init; }

    /// <summary>What kind of sensor it is, as in the settings: <c>host</c>, <c>simulated</c>...</summary>
    public required string Kind { get; init; }

    /// <summary>The name for people that the settings give it; null: none.</summary>
    public string? Label { get; init; }

    /// <summary>The unit of its only value, where settings give one; null: that of the kind's documentation.</summary>
    public string? Unit { get; init; }

    /// <summary>When it was measured, by the wall clock.</summary>
    public required DateTimeOffset Time { get; init; }

    public ReadingQuality Quality { get; init; } = ReadingQuality.Good;

    /// <summary>Why the quality is not good: a short word of a bounded set, such as <c>io</c> or
    /// <c>timeout</c>.</summary>
    public string? Reason { get; init; }

    /// <summary>Values by name, in the order in which they are published. Finite numbers; units are those of the kind's
    /// documentation (degrees Celsius, percent, hPa, bytes...).</summary>
    public IReadOnlyList<KeyValuePair<string, double>> Values { get; init; } = [];
}
