namespace SensorForwarder.Sensors.Drivers;

/// <summary>Kind <c>tsl2561</c>: TAOS's light sensor with two photodiodes, in the T, FN and CL packages. Data sheet
/// TAOS059, "Register Definitions" and "Calculating Lux". The binding reads one byte of the second channel only.
/// </summary>
internal sealed class Tsl2561(I2cPort port) : ISensor
{
    const byte Command = 0x80, Word = 0x20, Control = 0x00, Timing = 0x01, Id = 0x0A, Both = 0x0C, Infrared = 0x0E;
    const byte On = 3, Off = 0, Slow = 0x02; // 402 ms, gain 1
    const int Saturated = 0xFFFF;

    public static SensorKind Kind { get; } = I2cPort.Kind(
        "tsl2561", "TAOS TSL2561: illuminance", [0x39, 0x29, 0x49], [new("illuminance", "lx", 0, 40_000)],
        (port, _) => new Tsl2561(port))
        with
    { Probe = new([Command | Id], 1, answer => answer[0] >> 4 == 5) { IsGuess = true } };

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        var id = Read(Id);
        if (id >> 4 is not (4 or 5))
            throw new SensorFault(FaultReason.Invalid, $"the chip's id is 0x{id:x2}, not that of a TSL2560 or TSL2561");
        port.Write(Command | Control, Off); // the measurement begins when it is switched on
        port.Write(Command | Timing, Slow);
        port.Write(Command | Control, On);
        port.Pause(450, cancellationToken); // 402 ms, and 10 % for the tolerance of its oscillator
        var both = ReadWord(Both);
        var infrared = ReadWord(Infrared);
        if ((Read(Control) & On) != On || Read(Timing) != Slow)
            throw new SensorFault(FaultReason.Invalid, "the chip does not keep its configuration: was it reset?");
        port.Write(Command | Control, Off);
        var value = Measured.Value("illuminance", Lux(both, infrared), 1);
        return ValueTask.FromResult(both == Saturated || infrared == Saturated
            ? Measured.Uncertain(FaultReason.OverRange, "brighter than the chip can measure", value)
            : Measured.Good(value));
    }

    public void Dispose() => port.Dispose();

    int Read(byte register) => port.ReadTwice([(byte)(Command | register)], 1)[0];

    int ReadWord(byte register) =>
        port.ReadTwice([(byte)(Command | Word | register)], 2) is [var low, var high] ? (high << 8) | low : 0;

    /// <summary>The formula for 402 ms and a gain of 16; with a gain of 1 the counts are 16 times smaller.</summary>
    static double Lux(int both, int infrared)
    {
        const int Gain = 16;
        if (both == 0) return 0;
        var ratio = (double)infrared / both;
        var lux = ratio switch
        {
            <= 0.50 => (0.0304 * both) - (0.062 * both * Math.Pow(ratio, 1.4)),
            <= 0.61 => (0.0224 * both) - (0.031 * infrared),
            <= 0.80 => (0.0128 * both) - (0.0153 * infrared),
            <= 1.30 => (0.00146 * both) - (0.00112 * infrared),
            _ => 0,
        };
        return lux * Gain;
    }
}
