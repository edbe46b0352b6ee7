using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>Applies the settings to a measurement: median of several samples, then curve, scale and offset of each
/// value. Immutable.</summary>
internal sealed class Conditioning(SensorSettings settings)
{
    // Hides binary rounding: 21.43 * 1.02 is 21.858600000000003.
    const int Decimals = 9;

    readonly ByValue<Curve>? _curve = settings.Get(CommonOptions.Curve);
    readonly ByValue<double>? _scale = settings.Get(CommonOptions.Scale);
    readonly ByValue<double>? _offset = settings.Get(CommonOptions.Offset);

    /// <summary>The number of measurements for one reading.</summary>
    public int Samples { get; } = settings.Get(CommonOptions.Samples);

    /// <param name="samples">At least one. Bad samples are ignored unless they are the majority.</param>
    /// <returns>Finite values only. A value that is not finite makes its sample bad, or, after curve, scale and offset,
    /// the whole reading.</returns>
    public Measurement Apply(IReadOnlyList<Measurement> samples)
    {
        if (samples is [var only])
        {
            only = Finite(only);
            return only.Quality == ReadingQuality.Bad ? only : Adjust(only);
        }

        samples = [.. samples.Select(Finite)];
        var measured = samples.Where(sample => sample.Quality != ReadingQuality.Bad).ToList();
        if (measured.Count * 2 <= samples.Count) return samples.Last(sample => sample.Quality == ReadingQuality.Bad);
        return Adjust(measured.Count == 1 ? measured[0] : Median(measured));
    }

    Measurement Adjust(Measurement measured)
    {
        if (_curve is null && _scale is null && _offset is null) return measured;
        return Finite(measured with
        {
            Values =
            [
                .. measured.Values.Select(value => KeyValuePair.Create(value.Key, Adjust(value.Key, value.Value))),
            ],
        });
    }

    static Measurement Finite(Measurement sample) => sample.Values.All(value => double.IsFinite(value.Value))
        ? sample
        : Measurement.Bad(FaultReason.Invalid, "a value is not a finite number");

    static Measurement Median(List<Measurement> samples)
    {
        var worst = samples.MaxBy(sample => sample.Quality);
        var values = samples.SelectMany(sample => sample.Values)
            .GroupBy(value => value.Key, value => value.Value)
            .Select(group => KeyValuePair.Create(group.Key, Median([.. group.Order()])));
        return worst with { Values = [.. values] };
    }

    static double Median(double[] sorted) => sorted.Length % 2 == 1
        ? sorted[sorted.Length / 2]
        : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;

    double Adjust(string name, double value)
    {
        var (curve, scale, offset) = (_curve?.For(name), _scale?.For(name), _offset?.For(name));
        if (curve is null && scale is null && offset is null) return value;
        return Math.Round(((curve?.At(value) ?? value) * (scale ?? 1)) + (offset ?? 0), Decimals);
    }
}
