using System.Device.Spi;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors.Drivers;

/// <summary>Kind <c>mcp3008</c>: Microchip's converter of eight voltages with 10 bits, on SPI. Data sheet DS21295,
/// section 6.1.</summary>
internal sealed class Mcp3008(SpiPort port, SensorSettings settings) : ISensor
{
    const int ClockHertz = 1_000_000; // 1.35 MHz at most with a supply of 2.7 V
    const int Steps = 1024;

    static readonly Option<IReadOnlyList<int>> Channels = Option.Integers(
        "channels", 0, 7, [0, 1, 2, 3, 4, 5, 6, 7], "The inputs to measure, against ground.");

    static readonly Option<double> Reference = Option.Number(
        "referenceVolts", 0.25, 5.5, 3.3, "The voltage at its pin VREF.");

    public static SensorKind Kind { get; } = SpiPort.Kind(
        "mcp3008", "Microchip MCP3008: eight voltages", ClockHertz,
        [.. Enumerable.Range(0, 8).Select(channel => new SensorValue($"voltage{channel}", "V", 0, 5.5))],
        (port, settings) => new Mcp3008(port, settings), SpiMode.Mode0, Channels, Reference);

    readonly IReadOnlyList<int> _channels = settings.Get(Channels);
    readonly double _reference = settings.Get(Reference);

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        var values = new List<KeyValuePair<string, double>>();
        var isSaturated = false;
        foreach (var channel in _channels)
        {
            // There is no checksum: the median of three conversions rejects a single misread one.
            int[] three = [Convert(channel), Convert(channel), Convert(channel)];
            var raw = three.Order().ElementAt(1);
            isSaturated |= raw == Steps - 1;
            values.Add(Measured.Value($"voltage{channel}", raw * _reference / Steps, 4));
        }

        return ValueTask.FromResult(isSaturated
            ? Measured.Uncertain(FaultReason.OverRange, "an input is at referenceVolts or above", [.. values])
            : Measured.Good([.. values]));
    }

    public void Dispose() => port.Dispose();

    int Convert(int channel)
    {
        var answer = port.Transfer(0x01, (byte)((8 | channel) << 4), 0);
        // A null bit precedes the value; without a chip the line floats, usually high.
        return (answer[1] & 0x04) == 0
            ? ((answer[1] & 3) << 8) | answer[2]
            : throw new SensorFault(FaultReason.Invalid, "no null bit before the value: no chip at this chip select?");
    }
}
