using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>
/// A device or other source that can be measured repeatedly. Used by one loop at a time. A driver handles one chip or
/// source; schedule, timeouts and retries are up to <see cref="SensorScheduler"/>.
/// </summary>
internal interface ISensor : IDisposable
{
    /// <summary>Measures once. Failures of the device are returned as bad measurements, or thrown as <see
    /// cref="SensorFault"/> or IOException, after which the measurement is retried; any other exception is reported
    /// with the reason <c>error</c>. May block if its kind names a <see cref="SensorKind.Bus"/>.</summary>
    ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken);

    /// <summary>Completed while events, such as edges, wait to be measured before the next turn. Null: the sensor has
    /// no events. Any thread.</summary>
    Task? News => null;
}

/// <summary>What a sensor measured: the part of a <see cref="Reading"/> that the driver knows.</summary>
/// <param name="Values">Finite values by name; empty if the quality is bad. Good and empty: nothing new.</param>
/// <param name="Quality">How far they can be trusted.</param>
/// <param name="Reason">One of <see cref="FaultReason"/> when the quality is not good.</param>
/// <param name="Detail">What is wrong and what to do, in words.</param>
internal readonly record struct Measurement(
    IReadOnlyList<KeyValuePair<string, double>> Values,
    ReadingQuality Quality = ReadingQuality.Good,
    string? Reason = null,
    string? Detail = null)
{
    /// <summary>When it happened, by the wall clock; null: now.</summary>
    public DateTimeOffset? Time { get; init; }

    /// <summary>The units of the values, by name, if they depend on the device; null: those of the kind.</summary>
    public IReadOnlyList<KeyValuePair<string, string>>? Units { get; init; }

    /// <summary>The device has nothing new yet: no reading, and no failure.</summary>
    public static readonly Measurement Nothing = new([]);

    public static Measurement Bad(string reason, string? detail = null) => new([], ReadingQuality.Bad, reason, detail);
}
