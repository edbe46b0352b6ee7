using SensorForwarder.Options;
using SensorForwarder.Readings;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors;

/// <summary>The options that every kind of sensor has.</summary>
internal static class CommonOptions
{
    /// <summary>The largest number in the settings of a sensor.</summary>
    public const double Huge = 1e12;

    const int MaxUnitLength = 32;

    public static readonly Option<double?> Interval = Option.Number(
        "intervalSeconds", 0.01, 86_400, "Time between two readings.").From("`pollIntervalSeconds`");

    public static readonly Option<bool> Enabled = Option.Flag(
        "enabled", true, "`false`: the sensor is not read, but keeps its settings.");

    public static readonly Option<string?> Label = Option.TextOf(
        "label", "A display name, included in every reading.", 64);

    public static readonly Option<Tags> Tags = Readings.Tags.Option(
        "tags", "What the sensor belongs to, such as `{\"rack\":\"7\"}`; included in every reading, and labels of its "
            + "metrics. Names have letters, digits, `-` and `_`.");

    public static readonly Option<ByValue<Curve>?> Curve = ByValue<Curve>.Option(
        "curve", new OptionShape.CurveByValue(Sensors.Curve.MaxPoints, Huge),
        Sensors.Curve.TryRead, static curve => curve.ToJson(),
        "Calibration: points `[raw, value]`. Measured values are interpolated between the points, before `scale` and "
            + "`offset` are applied. The outermost lines are extended beyond the points.") with
    {
        Fault = Sensors.Curve.Fault,
    };

    public static readonly Option<ByValue<double>?> Scale = NumberByValue(
        "scale", -Huge, "Each value is multiplied by this number.");

    public static readonly Option<ByValue<double>?> Offset = NumberByValue(
        "offset", -Huge, "This number is added to each value, after `scale`.");

    public static readonly Option<TextByValue?> Units = new(
        "units", new OptionShape.TextByValue(MaxUnitLength), "The units of the values after `curve`, `scale` and "
            + "`offset`, where they differ from those of the kind.", null,
        static (value, out result) => TextByValue.TryRead(value, MaxUnitLength, out result),
        static units => units?.ToJson());

    public static readonly Option<ByValue<double>?> Min = NumberByValue(
        "min", -Huge, "A good reading with a value below this is `uncertain`, `limit`. Compared after `scale` and "
            + "`offset`.");

    public static readonly Option<ByValue<double>?> Max = NumberByValue(
        "max", -Huge, "A good reading with a value above this is `uncertain`, `limit`.");

    public static readonly Option<ByValue<double>?> MaxChange = NumberByValue(
        "maxChangePerSecond", 0, "A good reading with a value that changed faster than this is `uncertain`, `jump`, "
            + "unless the previous reading jumped to the same value. Two readings are treated as at least "
            + "`intervalSeconds` apart.");

    public static readonly Option<ByValue<Band>?> Deadband = ByValue<Band>.Option(
        "deadband", new OptionShape.BandByValue(Huge, Band.PercentPattern),
        Band.TryRead, static band => band.ToJson(),
        "A reading is stored only if one of these values differs by more than this from the last stored value, or if "
            + "the quality changed. `\"2%\"` is a percentage of the last stored value.") with
    {
        Refused = static text => text.Length <= Band.MaxLength ? $"\"{LogText.Clean(text)}\"" : LogText.Quote(text),
    };

    public static readonly Option<double> MaxSilence = Option.Number(
        "maxSilenceSeconds", 1, 86_400, 300, "With `deadband`: a reading is stored at least this often.");

    public static readonly Option<int?> Aggregate = Option.Integer(
        "aggregateSeconds", 0, 86_400, "One reading is stored for each window of this length, with mean, minimum, "
            + "maximum, last and count of each value; 0: each reading is stored. Not for `gpio`, and without effect on "
            + "a sensor that is read at most once per window.").From("the setting `aggregateSeconds`");

    public static readonly Option<int> Samples = Option.Integer(
        "samples", 1, 15, 1, "Number of measurements per reading; the median of each value is used. Not for `gpio` and "
            + "`counter`.");

    public static readonly Option<IReadOnlyList<AlarmRule>> Alarms = AlarmRule.List;

    public static IReadOnlyList<Option> All { get; } =
    [
        Interval, Enabled, Label, Tags, Curve, Scale, Offset, Units, Min, Max, MaxChange, Deadband, MaxSilence,
        Aggregate, Samples, Alarms,
    ];

    static Option<ByValue<double>?> NumberByValue(string name, double min, string text) => ByValue<double>.Option(
        name, new OptionShape.NumberByValue(min, Huge),
        (value, out result) => Option.TryNumber(value, min, Huge, out result), static number => number, text);
}
