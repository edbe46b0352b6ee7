using System.Collections.Frozen;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>The state of a sensor.</summary>
internal enum SensorState
{
    /// <summary>Not read yet.</summary>
    Starting,

    /// <summary>The last reading was good or uncertain.</summary>
    Working,

    /// <summary>The last reading was bad; <see cref="SensorHealth.Reason"/> says why.</summary>
    Failing,
}

/// <summary>The state of one sensor at one moment, for status, metrics and pages. Immutable.</summary>
/// <param name="Reason">Why it fails or its last reading is uncertain; null otherwise.</param>
/// <param name="Readings">Good and uncertain readings since it was started.</param>
/// <param name="Failures">Bad readings since it was started.</param>
/// <param name="Missed">Turns that were skipped because the previous one took too long.</param>
/// <param name="Last">The last reading that has values.</param>
internal sealed record SensorHealth(
    string Name, string Kind, SensorState State, string? Reason, long Readings, long Failures, long Missed,
    Reading? Last)
{
    /// <summary>The last reading whose quality is good; null: there was none.</summary>
    public Reading? LastGood { get; init; }

    /// <summary>The units of its values that are known, by name.</summary>
    public IReadOnlyDictionary<string, string> Units { get; init; } = FrozenDictionary<string, string>.Empty;

    /// <summary>Its tags from the settings.</summary>
    public Tags Tags { get; init; } = Tags.None;

    /// <summary>Its alarms, in the order of the settings.</summary>
    public IReadOnlyList<AlarmStatus> Alarms { get; init; } = [];

    /// <summary>What is wrong and what to do, in words; null: there is only the reason.</summary>
    public string? Detail { get; init; }
}
