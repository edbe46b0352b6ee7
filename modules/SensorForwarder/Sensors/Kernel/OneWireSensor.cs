using System.Globalization;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// Kind <c>w1</c>: a 1-wire thermometer (DS18B20 and its relatives) by the kernel's w1_therm. Each reading is a
/// conversion of up to 750 ms, one for all thermometers of a bus where that is possible. Source of
/// the format: drivers/w1/slaves/w1_therm.c of Linux; of the scratchpad: DS18B20 data sheet.
/// </summary>
internal sealed class OneWireSensor(SensorSettings settings, SensorWorld world) : ISensor
{
    const int ScratchpadLength = 9;
    const string Ds18S20Family = "10-";
    static readonly string[] Families = [Ds18S20Family, "22-", "28-", "3b-", "42-"];

    static readonly Option<string?> Device = Option.TextOf(
        "device", "Its directory in `/sys/bus/w1/devices`, such as `28-0316a2795e1f`; required if there are several.",
        15);

    public static SensorKind Kind { get; } = new(
        "w1", "a 1-wire thermometer: DS18B20, DS18S20, DS1822, DS1825", [Device],
        (settings, world) => new OneWireSensor(settings, world))
    {
        Values = [new("temperature", "degrees Celsius", -55, 125)],
        Connection = "1-wire",
        Claims = settings => settings.Get(Device) is { } device ? $"1-wire device {device}" : null,
        Bus = _ => "w1",
    };

    readonly string? _device = CheckName(settings.Get(Device));
    readonly string _directory = Path.Combine(world.Roots.Sysfs, "bus/w1/devices");

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        var device = _device ?? FindOnly();
        world.OneWire.Convert(_directory, device, world.TimeProvider, cancellationToken);
        var lines = KernelFile.Read(Path.Combine(_directory, device, "w1_slave")).Split('\n');
        var scratchpad = ReadScratchpad(lines[0]);
        var at = lines.Length > 1 ? lines[1].IndexOf("t=", StringComparison.Ordinal) : -1;
        if (at < 0 || !int.TryParse(
            lines[1].AsSpan(at + 2), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var thousandths))
            throw new SensorFault(FaultReason.Invalid, $"{device}: w1_slave has no temperature");
        CheckConverted(device, scratchpad);
        if (thousandths is < -55_000 or > 125_000)
            return ValueTask.FromResult(
                Measurement.Bad(FaultReason.Range, $"{device}: {thousandths / 1000.0} degrees is out of its range"));
        return ValueTask.FromResult(new Measurement([new("temperature", thousandths / 1000.0)]));
    }

    public void Dispose()
    {
    }

    /// <summary>The thermometers that the kernel has found.</summary>
    public static IReadOnlyList<string> List(SensorRoots roots) =>
    [
        .. KernelFile.Entries(Path.Combine(roots.Sysfs, "bus/w1/devices"), "*")
            .Select(path => Path.GetFileName(path))
            .Where(name => Families.Any(family => name.StartsWith(family, StringComparison.Ordinal)))
            .Order(StringComparer.Ordinal),
    ];

    string FindOnly()
    {
        var all = List(world.Roots);
        return all.Count switch
        {
            1 => all[0],
            0 => throw new SensorFault(
                FaultReason.Absent, $"{_directory} has no thermometer; is dtoverlay=w1-gpio set?"),
            _ => throw new SensorFault(
                FaultReason.Ambiguous, $"there are several: {string.Join(", ", all)}; name one as device"),
        };
    }

    /// <summary>The nine bytes at the start of "91 01 4b 46 7f ff 0f 10 25 : crc=25 YES".</summary>
    static byte[] ReadScratchpad(string line)
    {
        var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var bytes = new byte[ScratchpadLength];
        for (var i = 0; i < ScratchpadLength; i++)
        {
            if (i >= words.Length
                || !byte.TryParse(words[i], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out bytes[i]))
                throw new SensorFault(FaultReason.Invalid, "w1_slave does not begin with nine bytes");
        }

        // A line that is held low reads as zeros, whose checksum is zero.
        if (bytes.All(value => value == 0)) throw new SensorFault(FaultReason.Invalid, "the 1-wire line is low");
        if (!line.TrimEnd().EndsWith("YES", StringComparison.Ordinal) || Crc8.Dallas(bytes.AsSpan(0, 8)) != bytes[8])
            throw new SensorFault(FaultReason.Crc, "the scratchpad's checksum does not match");
        return bytes;
    }

    static string? CheckName(string? device) =>
        device is null || (!device.Contains('/', StringComparison.Ordinal) && device[0] != '.')
            ? device
            : throw new SensorSettingsException(
                $"device: '{LogText.Clean(device)}' is not a name such as 28-0316a2795e1f");

    /// <summary>Rejects the register's power-on value, 85 degrees, and 127.94 degrees, its value after the supply broke
    /// down during a conversion. After a conversion, byte 6 is 0x10 minus the low four bits, which identifies a
    /// measured 85. Not on a DS18S20, which has half degrees: its 85.0 is always rejected.</summary>
    static void CheckConverted(string device, byte[] scratchpad)
    {
        const byte NotConverted = 0x0C;
        if (scratchpad[6] != NotConverted) return;
        var raw = (scratchpad[1] << 8) | scratchpad[0];
        if (device.StartsWith(Ds18S20Family, StringComparison.Ordinal) ? raw == 0x00AA : raw is 0x0550 or 0x07FF)
            throw new SensorFault(FaultReason.PowerOn, $"{device} has lost its power and has not measured since: check "
                + "supply and pull-up");
    }
}
