namespace SensorForwarder.Sensors.Kernel;

/// <summary>
/// Kind <c>iio</c>: industrial I/O, the kernel's class for most sensor chips and converters.
/// Files, units and rules: Documentation/ABI/testing/sysfs-bus-iio of Linux.
/// </summary>
internal static class IioChannels
{
    // Type, name in readings, factor from the kernel's unit to the unit in readings, and that unit.
    static readonly (string Type, string Name, double Factor, string Unit)[] Types =
    [
        ("temp", "temperature", 1e-3, "degrees Celsius"),               // thousandths of a degree Celsius
        ("humidityrelative", "humidity", 1e-3, "percent"),      // thousandths of a percent
        ("pressure", "pressure", 10, "hPa"),                // kPa -> hPa
        ("illuminance", "illuminance", 1, "lx"),
        ("voltage", "voltage", 1e-3, "V"),                // mV -> V
        ("current", "current", 1e-3, "A"),                // mA -> A
        ("power", "power", 1e-3, "W"),                    // mW -> W
        ("distance", "distance", 1, "m"),
        ("concentration_co2", "co2", 1e4, "ppm"),           // percent -> ppm
        ("concentration_voc", "voc", 1e4, "ppm"),           // percent -> ppm
        ("concentration", "concentration", 1e4, "ppm"),     // percent -> ppm
        ("massconcentration_pm1", "pm1", 1, "ug/m3"),
        ("massconcentration_pm2p5", "pm2p5", 1, "ug/m3"),
        ("massconcentration_pm4", "pm4", 1, "ug/m3"),
        ("massconcentration_pm10", "pm10", 1, "ug/m3"),
        ("accel", "accel", 1, "m/s2"),
        ("anglvel", "anglvel", 1, "rad/s"),
    ];

    public static SensorKind Kind { get; } = KernelSensor.MakeKind(
        "iio", "a chip with an IIO driver in the kernel (bme280, dht11, ads1015, scd4x..)", KernelClass.Iio, Enumerate);

    /// <summary>The channels of a device that have a value to read.</summary>
    public static IEnumerable<KernelChannel> Enumerate(KernelDevice device)
    {
        const string Prefix = "in_", Processed = "_input", Raw = "_raw";
        var files = Directory.EnumerateFiles(device.Directory, Prefix + "*").Select(Path.GetFileName).OfType<string>()
            .Order(StringComparer.Ordinal);
        var channels = files
            .Where(file => file.EndsWith(Processed, StringComparison.Ordinal)
                || file.EndsWith(Raw, StringComparison.Ordinal))
            .Select(file => file[Prefix.Length..file.LastIndexOf('_')])
            .Distinct();
        foreach (var channel in channels)
        {
            var (name, factor, unit) = Describe(channel);
            yield return new(name, channel, unit, () => Read(device.Directory, channel) * factor);
        }
    }

    static (string Name, double Factor, string Unit) Describe(string channel)
    {
        foreach (var (type, name, factor, unit) in Types)
        {
            if (!channel.StartsWith(type, StringComparison.Ordinal)) continue;
            var rest = channel[type.Length..];
            // concentration_co2 is a separate type; temp_object, voltage0-voltage1 and accel_x are channels of a type.
            if (rest.Length == 0 || !char.IsAsciiLetter(rest[0])) return (NameOf(name + rest), factor, unit);
        }

        return (NameOf(channel), 1, "");
    }

    /// <summary>The name in readings: <c>temperature_object</c> is <c>temperatureObject</c>,
    /// <c>voltage0-voltage1</c> is <c>voltage0Voltage1</c>.</summary>
    static string NameOf(string channel)
    {
        var words = channel.Split(['_', '-', ' ', '.', ':', '/'], StringSplitOptions.RemoveEmptyEntries);
        return string.Concat(words.Select((word, i) => i == 0 ? word : char.ToUpperInvariant(word[0]) + word[1..]));
    }

    /// <summary>The processed value where there is one, else (raw + offset) * scale.</summary>
    static double Read(string directory, string channel)
    {
        var processed = Path.Combine(directory, $"in_{channel}_input");
        if (File.Exists(processed)) return KernelFile.ReadNumber(processed);
        var raw = KernelFile.ReadNumber(Path.Combine(directory, $"in_{channel}_raw"));
        return (raw + (Shared(directory, channel, "offset") ?? 0)) * (Shared(directory, channel, "scale") ?? 1);
    }

    /// <summary>An attribute of a channel, or else the one shared by all channels of its type: in_voltage0_scale, or
    /// in_voltage_scale; in_accel_x_scale, or in_accel_scale; in_voltage-voltage_scale for differences.</summary>
    static double? Shared(string directory, string channel, string attribute)
    {
        var type = channel.TakeWhile(char.IsAsciiLetter).ToArray().AsSpan().ToString();
        var all = channel.Contains('-', StringComparison.Ordinal) ? $"{type}-{type}" : type;
        foreach (var owner in (string[])[channel, channel.Split('_')[0], all])
        {
            // An attribute that exists and can't be read is a failure: without it the value would be wrong.
            var path = Path.Combine(directory, $"in_{owner}_{attribute}");
            if (File.Exists(path)) return KernelFile.ReadNumber(path);
        }

        return null;
    }
}
