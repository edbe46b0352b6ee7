namespace SensorForwarder.Sensors.Drivers;

/// <summary>
/// Kind <c>scd4x</c>: Sensirion SCD40, SCD41. It measures periodically every 5 s; a turn without new data gives no
/// reading. Data sheet SCD4x, sections 3.5 and 3.8.
/// </summary>
internal sealed class Scd4x(I2cPort port) : ISensor
{
    static readonly TimeSpan LongestSilence = TimeSpan.FromSeconds(15);

    public static SensorKind Kind { get; } = I2cPort.Kind(
        "scd4x", "Sensirion SCD40, SCD41: CO2, temperature, humidity; new values every 5 s", [0x62],
        [
            new("co2", "ppm", 1, 40_000), new("temperature", "degrees Celsius", -10, 60),
            new("humidity", "percent", 0, 100),
        ],
        (port, _) => new Scd4x(port))
        with
    { Probe = new([0xE4, 0xB8], 3, Sensirion.IsIntact) };

    readonly Flatline _flatline = new();
    long? _lastNews;

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        _lastNews ??= Start(cancellationToken);
        if ((Command(0xE4, 0xB8, 3, cancellationToken).Words[0] & 0x07FF) == 0)
        {
            return ValueTask.FromResult(port.TimeProvider.GetElapsedTime(_lastNews.Value) < LongestSilence
                ? Measurement.Nothing
                : Measurement.Bad(FaultReason.Invalid, "the chip has stopped measuring; it is restarted"));
        }

        var (words, raw) = Command(0xEC, 0x05, 9, cancellationToken);
        _lastNews = port.TimeProvider.GetTimestamp();
        KeyValuePair<string, double>[] values =
        [
            new("co2", words[0]), Sensirion.Temperature(words[1]), Measured.Value(
                "humidity", 100.0 * words[2] / 65_535, 2),
        ];
        return ValueTask.FromResult(_flatline.IsFlat(raw)
            ? Measured.Uncertain(FaultReason.Flatline, $"not one bit has changed in {Flatline.Polls} readings", values)
            : Measured.Good(values));
    }

    public void Dispose() => port.Dispose();

    long Start(CancellationToken cancellationToken)
    {
        port.Write(0x3F, 0x86); // stop: a chip that still measures from before a restart ignores the start
        port.Pause(500, cancellationToken);
        port.Write(0x21, 0xB1);
        return port.TimeProvider.GetTimestamp();
    }

    (int[] Words, byte[] Raw) Command(byte high, byte low, int length, CancellationToken cancellationToken)
    {
        port.Write(high, low);
        port.Pause(1, cancellationToken);
        var raw = port.Read(length);
        return (Sensirion.Words(raw), raw);
    }
}
