using SensorForwarder.Options;

namespace SensorForwarder.Sensors.Drivers;

/// <summary>Kind <c>ads1115</c>: TI's converter of four voltages with 16 bits. One conversion a channel and reading.
/// Data sheet SBAS444, section 8.1.</summary>
internal sealed class Ads1115(I2cPort port, SensorSettings settings) : ISensor
{
    const byte ConversionRegister = 0, ConfigRegister = 1;
    const int Begin = 0x8000, Ready = 0x8000, SingleEnded = 0x4000, OneShot = 0x0100, Rate128NoComparator = 0x0083;

    static readonly string[] FullScales = ["6.144", "4.096", "2.048", "1.024", "0.512", "0.256"];

    static readonly Option<IReadOnlyList<int>> Channels = Option.Integers(
        "channels", 0, 3, [0, 1, 2, 3], "The inputs to measure, against ground.");

    static readonly Option<string> FullScale = Option.Choice(
        "fullScaleVolts", FullScales, "4.096", "The largest voltage to measure; no input may be above the chip's "
            + "supply.");

    public static SensorKind Kind { get; } = I2cPort.Kind(
        "ads1115", "TI ADS1115: four voltages (soil moisture, potentiometers, 4..20 mA)", [0x48, 0x49, 0x4A, 0x4B],
        [.. Enumerable.Range(0, 4).Select(channel => new SensorValue($"voltage{channel}", "V", -6.144, 6.144))],
        (port, settings) => new Ads1115(port, settings), Channels, FullScale)
        with
    { Probe = new([ConfigRegister], 2, answer => answer is [0x85, 0x83]) };

    readonly IReadOnlyList<int> _channels = settings.Get(Channels);
    readonly int _gain = Array.IndexOf(FullScales, settings.Get(FullScale));
    readonly double _fullScale = double.Parse(
        settings.Get(FullScale), System.Globalization.CultureInfo.InvariantCulture);

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        var values = new List<KeyValuePair<string, double>>();
        var isSaturated = false;
        foreach (var channel in _channels)
        {
            var raw = (short)Convert(channel, cancellationToken);
            isSaturated |= raw is short.MaxValue or short.MinValue;
            values.Add(Measured.Value($"voltage{channel}", raw * _fullScale / 32_768, 6));
        }

        return ValueTask.FromResult(isSaturated
            ? Measured.Uncertain(FaultReason.OverRange, "an input is above fullScaleVolts", [.. values])
            : Measured.Good([.. values]));
    }

    public void Dispose() => port.Dispose();

    int Convert(int channel, CancellationToken cancellationToken)
    {
        const int Tries = 10;
        var config = SingleEnded | (channel << 12) | (_gain << 9) | OneShot | Rate128NoComparator;
        port.WriteWord(ConfigRegister, Begin | config);
        var begun = port.ReadWord(ConfigRegister);
        CheckConfig(begun);
        if ((begun & Ready) != 0) // the chip missed the start bit and would return the previous value
            throw new SensorFault(FaultReason.Invalid, "the chip does not start a conversion");
        port.Pause(9, cancellationToken); // 7.8 ms, and 10 % for the tolerance of its oscillator
        for (var i = 0; i < Tries; i++)
        {
            var state = port.ReadWord(ConfigRegister);
            CheckConfig(state);
            if ((state & Ready) != 0)
            {
                var raw = port.ReadWord(ConversionRegister);
                CheckConfig(port.ReadWord(ConfigRegister)); // after a reset, the value that was read is 0
                return raw;
            }

            port.Pause(1, cancellationToken);
        }

        throw new SensorFault(FaultReason.Invalid, "the chip does not finish its conversion");

        void CheckConfig(int state)
        {
            if ((state & ~Ready) != config)
                throw new SensorFault(FaultReason.Invalid, "the chip does not keep its configuration: was it reset?");
        }
    }
}
