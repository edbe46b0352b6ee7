using System.Diagnostics.CodeAnalysis;
using SensorForwarder.Sensors.Drivers;
using SensorForwarder.Sensors.Kernel;

namespace SensorForwarder.Sensors;

/// <summary>Every kind of sensor there is. A new one is one file and one line here.</summary>
internal static class SensorKinds
{
    public static IReadOnlyList<SensorKind> All { get; } =
    [
        HostSensor.Kind,
        SimulatedSensor.Kind,
        IioChannels.Kind,
        HwmonChannels.Kind,
        ThermalZone.Kind,
        OneWireSensor.Kind,
        FileSensor.Kind,
        ContactSensor.Kind,
        PulseCounter.Kind,
        Bme280.Bme,
        Bme280.Bmp,
        Sht3x.Kind,
        Sht4x.Kind,
        Aht20.Kind,
        Scd4x.Kind,
        PowerMonitor.Ina219,
        PowerMonitor.Ina226,
        Ads1115.Kind,
        Bh1750.Kind,
        Thermometer.Mcp9808,
        Thermometer.Lm75,
        Thermometer.Tmp102,
        Mcp3008.Kind,
    ];

    public static IEnumerable<string> Names => All.Select(kind => kind.Name);

    public static bool TryFind(string name, [NotNullWhen(true)] out SensorKind? kind)
    {
        kind = All.FirstOrDefault(kind => kind.Name == name);
        return kind is not null;
    }

    /// <exception cref="SensorSettingsException">There is none; the message names those that there are.</exception>
    public static SensorKind Find(string name)
    {
        if (TryFind(name, out var kind)) return kind;
        var hint = NearestName.Find(name, [.. Names]).Hint;
        throw new SensorSettingsException(
            $"kind: {LogText.Quote(name)} is not one of {string.Join(", ", Names)}{hint}");
    }
}
