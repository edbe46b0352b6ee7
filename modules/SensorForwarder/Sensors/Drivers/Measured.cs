using SensorForwarder.Readings;

namespace SensorForwarder.Sensors.Drivers;

/// <summary>Creates the measurements of drivers.</summary>
internal static class Measured
{
    public static Measurement Good(params KeyValuePair<string, double>[] values) => new(values);

    /// <summary>Measured values that may be wrong.</summary>
    public static Measurement Uncertain(string reason, string detail, params KeyValuePair<string, double>[] values) =>
        new(values, ReadingQuality.Uncertain, reason, detail);

    public static KeyValuePair<string, double> Value(string name, double value, int decimals) =>
        new(name, Math.Round(value, decimals));
}
