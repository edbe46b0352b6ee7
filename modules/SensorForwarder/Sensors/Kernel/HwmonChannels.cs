namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// Kind <c>hwmon</c>: hardware monitoring, the kernel's class for temperatures, voltages, currents and fans, and for
/// some humidity chips. Files and units: Documentation/hwmon/sysfs-interface.rst of Linux.
/// </summary>
internal static class HwmonChannels
{
    const string Input = "_input";

    // What files begin with, what the value is called in readings, its factor, the number that goes without saying, and
    // the unit.
    static readonly (string Prefix, string Name, double Factor, string First, string Unit)[] Types =
    [
        ("temp", "temperature", 1e-3, "1", "degrees Celsius"),   // thousandths of a degree Celsius
        ("humidity", "humidity", 1e-3, "1", "percent"),  // thousandths of a percent
        ("in", "voltage", 1e-3, "", "V"),          // mV -> V; numbers begin with 0, and each means another thing
        ("curr", "current", 1e-3, "1", "A"),       // mA -> A
        ("power", "power", 1e-6, "1", "W"),        // uW -> W
        ("energy", "energy", 1e-6, "1", "J"),      // uJ -> J
        ("fan", "fan", 1, "1", "revolutions a minute"),               // revolutions a minute
    ];

    // The Raspberry Pi's rpi_volt has this alone: 1 while the supply is too low.
    const string UnderVoltage = "in0_lcrit_alarm";

    // The twin in hwmon of a 1-wire thermometer. Its number does not say whether it was measured.
    const string OneWire = "w1_slave_temp";
    const double OneWirePowerOn = 85_000;

    public static SensorKind Kind { get; } = KernelSensor.MakeKind(
        "hwmon", "a chip with a hwmon driver in the kernel (sht3x, sht4x, aht10, lm75, ina2xx, rpi_volt..)",
        KernelClass.Hwmon, Enumerate);

    /// <summary>The channels of a device that have a value to read.</summary>
    public static IEnumerable<KernelChannel> Enumerate(KernelDevice device)
    {
        var files = Directory.EnumerateFiles(device.Directory).Select(Path.GetFileName).OfType<string>()
            .Order(StringComparer.Ordinal);
        foreach (var file in files)
        {
            if (file == UnderVoltage)
                yield return new("undervoltage", "in0", "1 too low, 0 well", () => KernelFile.ReadNumber(
                    Path.Combine(device.Directory, UnderVoltage)));
            if (!file.EndsWith(Input, StringComparison.Ordinal)) continue;
            var channel = file[..^Input.Length];
            var number = channel.TrimStart("abcdefghijklmnopqrstuvwxyz".ToCharArray());
            foreach (var (prefix, name, factor, first, unit) in Types)
            {
                if (channel != prefix + number) continue;
                yield return new(
                    number == first ? name : name + number, channel, unit, () => Read(device, channel) * factor);
            }
        }
    }

    static double Read(KernelDevice device, string channel)
    {
        if (KernelFile.TryReadNumber(Path.Combine(device.Directory, channel + "_fault")) == 1)
            throw new SensorFault(FaultReason.Invalid, $"{channel}: the chip says that its probe is open or shorted");
        var number = KernelFile.ReadNumber(Path.Combine(device.Directory, channel + Input));
        return device.Name == OneWire && number == OneWirePowerOn
            ? throw new SensorFault(
                FaultReason.PowerOn, $"{device}: 85 degrees may be what it holds after power-on; kind w1 can tell")
            : number;
    }
}
