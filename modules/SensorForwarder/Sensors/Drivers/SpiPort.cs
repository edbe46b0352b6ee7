using System.Device.Spi;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors.Drivers;

/// <summary>A chip select of an SPI bus. Opened by the first transfer. Used by the bus's thread only.</summary>
internal sealed class SpiPort(SensorWorld world, int bus, int chipSelect, int clockHertz, SpiMode mode) : IDisposable
{
    static readonly Option<int> BusOption = Option.Integer(
        "bus", 0, 255, 0, "Number of the SPI bus: `/dev/spidev0.1` is on 0.");
    static readonly Option<int> ChipSelect = Option.Integer(
        "chipSelect", 0, 15, 0, "Its chip select: that of `/dev/spidev0.1` is 1.");

    readonly string _name = Place($"{bus}.{chipSelect}");
    SpiDevice? _device;

    public TimeProvider TimeProvider => world.TimeProvider;

    /// <summary>Describes the kind of an SPI chip.</summary>
    public static SensorKind Kind(
        string name, string text, int clockHertz, SensorValue[] values,
        Func<SpiPort, SensorSettings, ISensor> make, SpiMode mode, params Option[] options) => new(
            name, text, [BusOption, ChipSelect, .. options],
            (settings, world) =>
                make(new(world, settings.Get(BusOption), settings.Get(ChipSelect), clockHertz, mode), settings))
        {
            Values = values,
            Connection = "SPI",
            Claims = settings => Place($"{settings.Get(BusOption)}.{settings.Get(ChipSelect)}"),
            Bus = settings => $"spi-{settings.Get(BusOption)}",
        };

    /// <summary>A place on a bus, in words.</summary>
    /// <param name="node">Bus and chip select as in the name of the node: <c>0.1</c>.</param>
    public static string Place(string node) => node.Split('.') is [var bus, var chipSelect]
        ? $"chip select {chipSelect} on SPI bus {bus}"
        : node;

    /// <summary>Transfers until two answers in a row are the same, as <see cref="I2cPort.ReadTwice"/> does.</summary>
    public byte[] TransferTwice(params ReadOnlySpan<byte> bytes)
    {
        const int Tries = 5;
        byte[] last = [];
        for (var i = 0; i < Tries; i++)
        {
            var answer = Transfer(bytes);
            answer[0] = 0; // not driven by the chip while the command is sent
            if (answer.AsSpan().SequenceEqual(last)) return answer;
            last = answer;
        }

        throw new SensorFault(FaultReason.Io, $"{_name}: no two answers are the same: noise on the wires?");
    }

    public byte[] Transfer(params ReadOnlySpan<byte> bytes)
    {
        try
        {
            var answer = new byte[bytes.Length];
            Open().TransferFullDuplex(bytes, answer);
            return answer;
        }
        catch (IOException exception)
        {
            throw SensorFault.From(exception, _name);
        }
    }

    public void Dispose()
    {
        _device?.Dispose();
        _device = null;
    }

    SpiDevice Open()
    {
        if (_device is not null) return _device;
        var node = Path.Combine(world.Roots.Dev, $"spidev{bus}.{chipSelect}");
        if (!File.Exists(node))
            throw new SensorFault(FaultReason.Absent, $"{node} does not exist: set dtparam=spi=on in config.txt, and "
                + "add the node to createOptions' Devices");
        return _device = world.OpenSpi(new(bus, chipSelect) { ClockFrequency = clockHertz, Mode = mode });
    }
}
