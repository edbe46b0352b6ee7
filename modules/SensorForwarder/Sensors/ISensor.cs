namespace SensorForwarder.Sensors;

/// <summary>
/// Something that can be measured again and again. Used by one loop at a time. A driver keeps to one chip or source and
/// leaves schedule, time-outs and repeats to <see cref="SensorScheduler"/>.
/// </summary>
internal interface ISensor : IDisposable
{
    /// <summary>Measures once. Returns a bad measurement for whatever the world does; it may throw, which counts as
    /// the reason <c>error</c>. May block: it runs on a thread of its own.</summary>
    ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken);
}

/// <summary>What a sensor measured: the part of a <see cref="Reading"/> that the driver knows.</summary>
/// <param name="Values">Finite values by name; empty when the quality is bad.</param>
/// <param name="Quality">How far they can be trusted.</param>
/// <param name="Reason">A short word of a bounded set when the quality is not good.</param>
internal readonly record struct Measurement(
    IReadOnlyList<KeyValuePair<string, double>> Values, ReadingQuality Quality = ReadingQuality.Good, string? Reason = null)
{
    public static Measurement Bad(string reason) => new([], ReadingQuality.Bad, reason);
}
