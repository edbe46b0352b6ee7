namespace SensorForwarder.Readings;

/// <summary>How far a reading can be trusted.</summary>
internal enum ReadingQuality
{
    /// <summary>Measured, checked, in range.</summary>
    Good,

    /// <summary>Measured, but doubtful; <see cref="Reading.Reason"/> says why.</summary>
    Uncertain,

    /// <summary>Not measured; <see cref="Reading.Values"/> is empty and <see cref="Reading.Reason"/> says
    /// why.</summary>
    Bad,
}

/// <summary>What one sensor reported at one time. Immutable; created by Sensors, stored by Buffer.</summary>
internal sealed record Reading
{
    /// <summary>The name of the sensor in the settings: 1..64 characters.</summary>
    public required string Sensor { get; init; }

    /// <summary>The kind of the sensor in the settings: <c>host</c>, <c>simulated</c>...</summary>
    public required string Kind { get; init; }

    /// <summary>The sensor's display name from the settings; null: none.</summary>
    public string? Label { get; init; }

    /// <summary>The unit of the only value, from the settings; null: the unit in the kind's documentation.</summary>
    public string? Unit { get; init; }

    /// <summary>The units of the values, by name, when a receiver may not know them yet; else empty.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Units { get; init; } = [];

    /// <summary>When it was measured, in wall-clock time.</summary>
    public required DateTimeOffset Time { get; init; }

    public ReadingQuality Quality { get; init; } = ReadingQuality.Good;

    /// <summary>Why the quality is not good: a word of a fixed set, such as <c>io</c> or <c>timeout</c>.</summary>
    public string? Reason { get; init; }

    /// <summary>The sensor's tags from the settings.</summary>
    public Tags Tags { get; init; } = Tags.None;

    /// <summary>Values by name, in the order of publication. Finite numbers, in the units of the kind's documentation
    /// (degrees Celsius, percent, hPa, bytes...).</summary>
    public IReadOnlyList<KeyValuePair<string, double>> Values { get; init; } = [];

    /// <summary>The window of which the values are the means; null: the values were measured once.</summary>
    public Aggregate? Aggregate { get; init; }

    /// <summary>The change of an alarm that this reading reports; null: it reports none.</summary>
    public AlarmReport? Alarm { get; init; }
}
