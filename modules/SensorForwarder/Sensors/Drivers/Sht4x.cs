namespace SensorForwarder.Sensors.Drivers;

/// <summary>Kind <c>sht4x</c>: Sensirion SHT40, SHT41, SHT45, high precision: data sheet,
/// sections 4.5 and 4.6.</summary>
internal sealed class Sht4x(I2cPort port) : ISensor
{
    public static SensorKind Kind { get; } = I2cPort.Kind(
        "sht4x", "Sensirion SHT40, SHT41, SHT45: temperature, humidity", [0x44, 0x45, 0x46],
        [new("temperature", "degrees Celsius", -40, 125), new("humidity", "percent", 0, 100)],
        (port, _) => new Sht4x(port))
        with
    { Probe = new([0x89], 6, Sensirion.IsIntact) };

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        port.Write(0xFD);
        port.Pause(10, cancellationToken); // 8.3 ms at most
        var words = Sensirion.Words(port.Read(6));
        var humidity = Math.Clamp(-6 + (125.0 * words[1] / 65_535), 0, 100);
        return ValueTask.FromResult(Measured.Good(
            Sensirion.Temperature(words[0]), Measured.Value("humidity", humidity, 2)));
    }

    public void Dispose() => port.Dispose();
}
