namespace SensorForwarder.Sensors.Drivers;

/// <summary>Kind <c>bh1750</c>: Rohm's light sensor, one shot with 1 lx resolution. Data sheet, "Measurement
/// sequence".</summary>
internal sealed class Bh1750(I2cPort port) : ISensor
{
    const byte PowerOn = 0x01, OneShot = 0x20;
    const double CountsPerLux = 1.2;

    public static SensorKind Kind { get; } = I2cPort.Kind(
        "bh1750", "Rohm BH1750: illuminance", [0x23, 0x5C], [new("illuminance", "lx", 0, 54_612.5)],
        (port, _) => new Bh1750(port))
        with
    { Probe = new([], 2, _ => true) { IsGuess = true } };

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        var raw = MeasureOnce(cancellationToken);
        if (raw == 0) raw = MeasureOnce(cancellationToken); // dark, or the chip was reset and has not measured
        var value = Measured.Value("illuminance", raw / CountsPerLux, 1);
        return ValueTask.FromResult(raw == 0xFFFF
            ? Measured.Uncertain(FaultReason.OverRange, "brighter than the chip can measure, or no chip at all", value)
            : Measured.Good(value));
    }

    public void Dispose() => port.Dispose();

    int MeasureOnce(CancellationToken cancellationToken)
    {
        port.Write(PowerOn);
        port.Write(OneShot);
        port.Pause(180, cancellationToken); // at most
        var answer = port.ReadTwice([], 2); // the chip sleeps after one shot and keeps the value
        return (answer[0] << 8) | answer[1];
    }
}
