using System.Device.Spi;

namespace SensorForwarder.Sensors.Drivers;

/// <summary>One chip's place on an SPI bus. Opened with the first transfer. Used by the bus's thread only.</summary>
internal sealed class SpiPort(SensorWorld world, int bus, int chipSelect, int clockHertz) : IDisposable
{
    static readonly SensorOption<int> BusOption = SensorOption.Integer(
        "bus", 0, 255, 0, "Number of the SPI bus: `/dev/spidev0.1` is on 0.");
    static readonly SensorOption<int> ChipSelect = SensorOption.Integer(
        "chipSelect", 0, 15, 0, "Its chip select: that of `/dev/spidev0.1` is 1.");

    readonly string _name = $"chip select {chipSelect} on SPI bus {bus}";
    SpiDevice? _device;

    /// <summary>Describes the kind of an SPI chip with mode 0.</summary>
    public static SensorKind Kind(
        string name, string text, int clockHertz, SensorValue[] values,
        Func<SpiPort, SensorSettings, ISensor> make, params SensorOption[] options) => new(
            name, text, [BusOption, ChipSelect, .. options],
            (settings, world) =>
                make(new(world, settings.Get(BusOption), settings.Get(ChipSelect), clockHertz), settings))
        {
            Values = values,
            Claims = settings => $"chip select {settings.Get(ChipSelect)} on SPI bus {settings.Get(BusOption)}",
            Bus = settings => $"spi-{settings.Get(BusOption)}",
        };

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
            throw new SensorFault(FaultReason.Absent, $"{node} is not there: dtparam=spi=on in config.txt, and the "
                + "node in createOptions' Devices");
        return _device = world.OpenSpi(new(bus, chipSelect) { ClockFrequency = clockHertz, Mode = SpiMode.Mode0 });
    }
}
