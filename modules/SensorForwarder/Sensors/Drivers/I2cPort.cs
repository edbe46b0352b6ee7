using System.Device.I2c;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors.Drivers;

/// <summary>
/// A chip's address on an I2C bus. Opened by the first transfer, and refused while a kernel driver is bound to the
/// chip: the kernel would allow both to use it, and each would disturb the other's reads. Used by the bus's thread
/// only.
/// </summary>
internal sealed class I2cPort(SensorWorld world, int bus, int address) : IDisposable
{
    static readonly Option<int> BusOption = Option.Integer(
        "bus", 0, 255, 1, "Number of the I2C bus: `/dev/i2c-1` is 1.");

    readonly string _name = Place(bus, address);
    I2cDevice? _device;

    public TimeProvider TimeProvider => world.TimeProvider;

    public int Bus => bus;

    public int Address => address;

    /// <summary>Describes the kind of an I2C chip.</summary>
    /// <param name="addresses">Where the chip can be; the first is the default.</param>
    /// <param name="make">Creates its driver without a transfer.</param>
    public static SensorKind Kind(
        string name, string text, int[] addresses, SensorValue[] values,
        Func<I2cPort, SensorSettings, ISensor> make, params Option[] options)
    {
        var address = Option.Address(addresses);
        return new(
            name, text, [BusOption, address, .. options],
            (settings, world) => make(new(world, settings.Get(BusOption), settings.Get(address)), settings))
        {
            Values = values,
            Connection = "I2C",
            Claims = settings => Place(settings.Get(BusOption), settings.Get(address)),
            Bus = settings => $"i2c-{settings.Get(BusOption)}",
            I2cAddresses = addresses,
        };
    }

    /// <summary>A place on a bus, in words.</summary>
    public static string Place(int bus, int address) => $"address 0x{address:x2} on I2C bus {bus}";

    public void Write(params ReadOnlySpan<byte> bytes)
    {
        try
        {
            Open().Write(bytes);
        }
        catch (IOException exception)
        {
            throw SensorFault.From(exception, _name);
        }
    }

    public byte[] Read(int length)
    {
        try
        {
            var bytes = new byte[length];
            Open().Read(bytes);
            return bytes;
        }
        catch (IOException exception)
        {
            throw SensorFault.From(exception, _name);
        }
    }

    /// <summary>Writes and reads in one transfer, as registers are read.</summary>
    public byte[] WriteRead(ReadOnlySpan<byte> bytes, int length)
    {
        try
        {
            var answer = new byte[length];
            Open().WriteRead(bytes, answer);
            return answer;
        }
        catch (IOException exception)
        {
            throw SensorFault.From(exception, _name);
        }
    }

    /// <summary>Reads until two consecutive answers are equal: for chips without a checksum whose registers change
    /// seldom. Detects bit errors in the data and in the register number.</summary>
    public byte[] ReadTwice(ReadOnlySpan<byte> write, int length)
    {
        const int Tries = 5;
        byte[] last = [];
        for (var i = 0; i < Tries; i++)
        {
            var answer = write.Length > 0 ? WriteRead(write, length) : Read(length);
            if (answer.AsSpan().SequenceEqual(last))
            {
                return answer.Any(value => value != 0) || !IsHeldLow(world, bus, out _)
                    ? answer
                    : throw new SensorFault(FaultReason.Io, $"the data line of I2C bus {bus} is held low");
            }

            last = answer;
        }

        throw new SensorFault(FaultReason.Io, $"{_name}: no two answers are the same: noise on the wires?");
    }

    public byte[] ReadRegisters(byte first, int length) => WriteRead([first], length);

    /// <summary>A register of 16 bits, high byte first, read twice.</summary>
    public int ReadWord(byte register) => ReadTwice([register], 2) is [var high, var low] ? (high << 8) | low : 0;

    public void WriteWord(byte register, int word) => Write(register, (byte)(word >> 8), (byte)word);

    public void Pause(double milliseconds, CancellationToken cancellationToken) =>
        world.TimeProvider.Pause(TimeSpan.FromMilliseconds(milliseconds), cancellationToken);

    public void Dispose()
    {
        _device?.Dispose();
        _device = null;
    }

    /// <summary>The kernel driver that is bound to a chip; null: none.</summary>
    public static string? KernelDriver(SensorRoots roots, int bus, int address)
    {
        var link = new DirectoryInfo(Path.Combine(roots.Sysfs, $"bus/i2c/devices/{bus}-{address:x4}/driver"));
        return link.Exists ? Path.GetFileName(link.LinkTarget ?? link.FullName) : null;
    }

    /// <summary>Detects a data line that is held low: if the controller does not notice (bcm2835), every address is
    /// acknowledged and reads as zeros, even a reserved one. False if the reserved address can't be read.</summary>
    public static bool IsHeldLow(SensorWorld world, int bus, out bool hasTimedOut)
    {
        const int Reserved = 0x7C;
        hasTimedOut = false;
        try
        {
            using var reserved = world.OpenI2c(bus, Reserved);
            reserved.ReadByte();
            return true;
        }
        catch (IOException exception)
        {
            hasTimedOut = SensorFault.From(exception, "").Reason == FaultReason.BusTimeout;
            return false;
        }
    }

    I2cDevice Open()
    {
        if (_device is not null) return _device;
        if (KernelDriver(world.Roots, bus, address) is { } driver)
        {
            throw new SensorFault(FaultReason.KernelDriver,
                $"{_name} belongs to the kernel's driver {driver}: use kind iio or hwmon with parent "
                + $"{bus}-{address:x4}, or unbind the driver");
        }

        var node = Path.Combine(world.Roots.Dev, $"i2c-{bus}");
        if (!File.Exists(node))
            throw new SensorFault(FaultReason.Absent, $"{node} does not exist: set dtparam=i2c_arm=on in config.txt, "
                + "and add the node to createOptions' Devices");
        return _device = world.OpenI2c(bus, address);
    }
}
