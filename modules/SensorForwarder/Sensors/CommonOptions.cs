using SensorForwarder.Options;

namespace SensorForwarder.Sensors;

/// <summary>The options that every kind of sensor has.</summary>
internal static class CommonOptions
{
    const double Huge = 1e12;
    const int MaxUnitLength = 32;

    public static readonly Option<double?> Interval = Option.Number(
        "intervalSeconds", 0.01, 86_400, "Time between two readings.").From("`pollIntervalSeconds`");

    public static readonly Option<bool> Enabled = Option.Flag(
        "enabled", true, "`false`: it stays in the settings and is not read.");

    public static readonly Option<string?> Label = Option.TextOf(
        "label", "A name for people; it stands in every reading.", 64);

    public static readonly Option<NumberByValue?> Scale = ByValue(
        "scale", -Huge, "Each value is multiplied with this.");

    public static readonly Option<NumberByValue?> Offset = ByValue(
        "offset", -Huge, "This is added to each value, after `scale`.");

    public static readonly Option<TextByValue?> Units = new(
        "units", new OptionShape.TextByValue(MaxUnitLength), "The units of the values after `scale` and `offset`, "
            + "where they are not those that the kind says.", null,
        static (value, out result) => TextByValue.TryRead(value, MaxUnitLength, out result),
        static units => units?.ToJson());

    public static readonly Option<NumberByValue?> Deadband = ByValue(
        "deadband", 0, "A reading is stored only when one of these values moved by more than this since the last "
            + "one that was stored, or the quality changed.");

    public static readonly Option<double> MaxSilence = Option.Number(
        "maxSilenceSeconds", 1, 86_400, 300, "With `deadband`: one is stored at least this often.");

    public static readonly Option<int> Samples = Option.Integer(
        "samples", 1, 15, 1, "It is measured this many times at once, and the median of each value is taken. Not for "
            + "`gpio` and `counter`.");

    public static readonly Option<IReadOnlyList<AlarmRule>> Alarms = AlarmRule.List;

    public static IReadOnlyList<Option> All { get; } =
        [Interval, Enabled, Label, Scale, Offset, Units, Deadband, MaxSilence, Samples, Alarms];

    static Option<NumberByValue?> ByValue(string name, double min, string text) => new(
        name, new OptionShape.NumberByValue(min, Huge), text, null,
        (value, out result) => NumberByValue.TryRead(value, min, Huge, out result),
        static numbers => numbers?.ToJson());
}
