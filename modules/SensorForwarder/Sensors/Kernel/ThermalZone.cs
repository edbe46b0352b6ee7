using SensorForwarder.Options;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>Kind <c>thermal</c>: a thermal zone of the kernel, such as that of the SoC.</summary>
internal static class ThermalZone
{
    static readonly Option<string?> Zone = Option.TextOf(
        "zone", "The content of its file `type`, such as `cpu-thermal`.", 64)
        with
    { IsRequired = true };

    public static SensorKind Kind { get; } = new(
        "thermal", "a thermal zone of the kernel, such as the SoC's", [Zone],
        (settings, world) => new KernelSensor(
            KernelClass.Thermal(world.Roots), settings.Get(Zone)!, null, null, Enumerate))
    {
        Connection = "kernel",
        Values = [new("temperature", "degrees Celsius")],
    };

    // Thousandths of a degree: Documentation/driver-api/thermal/sysfs-api.rst of Linux.
    static IEnumerable<KernelChannel> Enumerate(KernelDevice zone) =>
        [new("temperature", "temp", "degrees Celsius",
            () => KernelFile.ReadNumber(Path.Combine(zone.Directory, "temp")) / 1000)];
}
