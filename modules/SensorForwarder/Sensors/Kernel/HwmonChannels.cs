namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// Kind <c>hwmon</c>: hardware monitoring, the kernel's class for temperatures, voltages, currents and fans, and for
/// some humidity chips. Files and units: Documentation/hwmon/sysfs-interface.rst of Linux.
/// </summary>
internal static class HwmonChannels
{
    const string Input = "_input";

    // Prefix of the files, name in readings, factor, the number that the name omits, and unit in readings.
    static readonly (string Prefix, string Name, double Factor, string First, string Unit)[] Types =
    [
        ("temp", "temperature", 1e-3, "1", "degrees Celsius"),   // thousandths of a degree Celsius
        ("humidity", "humidity", 1e-3, "1", "percent"),  // thousandths of a percent
        ("in", "voltage", 1e-3, "", "V"),          // mV -> V; numbers start at 0, and each is a different voltage
        ("curr", "current", 1e-3, "1", "A"),       // mA -> A
        ("power", "power", 1e-6, "1", "W"),        // uW -> W
        ("energy", "energy", 1e-6, "1", "J"),      // uJ -> J
        ("fan", "fan", 1, "1", "revolutions a minute"),
    ];

    // The only channel of a Raspberry Pi's rpi_volt: 1 while the supply voltage is too low.
    const string UnderVoltage = "in0_lcrit_alarm";

    // The hwmon device of a 1-wire thermometer, which does not show whether its value was measured.
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
                yield return new("undervoltage", "in0", "1 too low, 0 normal", () => KernelFile.ReadNumber(
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
                FaultReason.PowerOn, $"{device}: 85 degrees may be the power-on value; kind w1 can distinguish them")
            : number;
    }
}
