namespace SensorForwarder.Sensors.Drivers;

/// <summary>Kind <c>sht3x</c>: Sensirion SHT30, SHT31, SHT35. Single shot, high repeatability, without clock
/// stretching: data sheet, sections 4.3 and 4.13.</summary>
internal sealed class Sht3x(I2cPort port) : ISensor
{
    public static SensorKind Kind { get; } = I2cPort.Kind(
        "sht3x", "Sensirion SHT30, SHT31, SHT35: temperature, humidity", [0x44, 0x45],
        [new("temperature", "degrees Celsius", -40, 125), new("humidity", "percent", 0, 100)],
        (port, _) => new Sht3x(port))
        with
    { Probe = new([0xF3, 0x2D], 3, answer => Sensirion.IsIntact(answer) && answer is not [0, 0, _]) };

    bool _isStarted;

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        if (!_isStarted) Start(cancellationToken);
        port.Write(0x24, 0x00);
        port.Pause(16, cancellationToken); // 15.5 ms at most; until then the chip does not acknowledge
        var words = Sensirion.Words(port.Read(6));
        return ValueTask.FromResult(Measured.Good(
            Sensirion.Temperature(words[0]), Measured.Value("humidity", 100.0 * words[1] / 65_535, 2)));
    }

    public void Dispose() => port.Dispose();

    void Start(CancellationToken cancellationToken)
    {
        port.Write(0x30, 0x93); // ends periodic measurement, in which the chip ignores a reset
        port.Pause(1, cancellationToken);
        port.Write(0x30, 0xA2);
        port.Pause(2, cancellationToken);
        _isStarted = true;
    }
}
