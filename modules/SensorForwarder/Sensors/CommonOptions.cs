namespace SensorForwarder.Sensors;

/// <summary>The options that every kind of sensor has.</summary>
internal static class CommonOptions
{
    const double Huge = 1e12;

    public static readonly SensorOption<double?> Interval = SensorOption.Number(
        "intervalSeconds", 0.01, 86_400, "Time between two readings.") with
    { DefaultSource = "`pollIntervalSeconds`" };

    public static readonly SensorOption<bool> Enabled = SensorOption.Flag(
        "enabled", true, "`false`: it stays in the settings and is not read.");

    public static readonly SensorOption<string?> Label = SensorOption.TextOf(
        "label", "A name for people; it stands in every reading.", 64);

    public static readonly SensorOption<NumberByValue?> Scale = SensorOption.ByValue(
        "scale", -Huge, Huge, "Each value is multiplied with this.");

    public static readonly SensorOption<NumberByValue?> Offset = SensorOption.ByValue(
        "offset", -Huge, Huge, "This is added to each value, after `scale`.");

    public static readonly SensorOption<NumberByValue?> Deadband = SensorOption.ByValue(
        "deadband", 0, Huge, "A reading is stored only when one of these values moved by more than this since the last "
            + "one that was stored, or the quality changed.");

    public static readonly SensorOption<double> MaxSilence = SensorOption.Number(
        "maxSilenceSeconds", 1, 86_400, 300, "With `deadband`: one is stored at least this often.");

    public static readonly SensorOption<int> Samples = SensorOption.Integer(
        "samples", 1, 15, 1, "It is measured this many times at once, and the median of each value is taken. Not for "
            + "`gpio` and `counter`.");

    public static IReadOnlyList<SensorOption> All { get; } =
        [Interval, Enabled, Label, Scale, Offset, Deadband, MaxSilence, Samples];
}
