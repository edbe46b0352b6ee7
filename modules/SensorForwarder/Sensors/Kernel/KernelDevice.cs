namespace SensorForwarder.Sensors.Kernel;

/// <summary>A device of a class in sysfs, such as iio:device0. Its number may change at any time.</summary>
/// <param name="Name">What its driver calls it, such as <c>bme280</c>.</param>
/// <param name="Parent">The chip that it belongs to, such as <c>1-0076</c>; empty when it has none.</param>
internal sealed record KernelDevice(string Directory, string Name, string Parent)
{
    public override string ToString() => Parent.Length > 0 ? $"{Name} at {Parent}" : Name;
}

/// <summary>The devices of one class in sysfs, found by name and parent.</summary>
/// <param name="directory">Such as /sys/bus/iio/devices.</param>
/// <param name="prefix">What the names of its directories begin with.</param>
/// <param name="nameFile">The file with the name or type of a device.</param>
internal sealed class KernelClass(string directory, string prefix, string nameFile)
{
    public static KernelClass Iio(SensorRoots roots) =>
        new(Path.Combine(roots.Sysfs, "bus/iio/devices"), "iio:device", "name");

    public static KernelClass Hwmon(SensorRoots roots) =>
        new(Path.Combine(roots.Sysfs, "class/hwmon"), "hwmon", "name");

    public static KernelClass Thermal(SensorRoots roots) =>
        new(Path.Combine(roots.Sysfs, "class/thermal"), "thermal_zone", "type");

    /// <summary>The existing devices, in the order of their numbers.</summary>
    public IReadOnlyList<KernelDevice> List() =>
        [.. KernelFile.Entries(directory, prefix + "*").Select(TryOpen).OfType<KernelDevice>()];

    /// <summary>Finds the only device with this name and, if given, this parent. Some drivers append a location:
    /// dht11@4.</summary>
    /// <exception cref="SensorFault">There is none, or more than one.</exception>
    public KernelDevice Find(string name, string? parent)
    {
        var all = List();
        var there = all.Where(device => parent is null || device.Parent == parent).ToList();
        var found = there.Where(device => device.Name == name).ToList();
        if (found.Count == 0)
            found = there.Where(device => device.Name.StartsWith($"{name}@", StringComparison.Ordinal)).ToList();
        if (found.Count == 1) return found[0];
        var wanted = parent is null ? name : $"{name} at {parent}";
        if (found.Count > 1)
        {
            throw new SensorFault(
                FaultReason.Ambiguous, $"there are several: {string.Join(", ", found)}; write its full name, or "
                    + "name its parent");
        }

        throw new SensorFault(
            FaultReason.Absent, $"{directory} has no {wanted}; it has {(
                all.Count > 0 ? string.Join(", ", all) : "nothing")}");
    }

    /// <summary>Whether a directory still belongs to the same device; numbers change when devices are added or removed.
    /// </summary>
    public bool IsStill(KernelDevice device) => TryOpen(device.Directory) == device;

    KernelDevice? TryOpen(string path) =>
        KernelFile.TryRead(Path.Combine(path, nameFile)) is { } name ? new(path, name, ParentOf(path)) : null;

    /// <summary>Devices of a class link to their parent; those of a bus lie in its directory.</summary>
    static string ParentOf(string path)
    {
        try
        {
            if (new DirectoryInfo(Path.Combine(path, "device"))
                .LinkTarget is { } parent) return Path.GetFileName(parent.TrimEnd('/'));
            return new DirectoryInfo(path).LinkTarget is { } target
                ? Path.GetFileName(Path.GetDirectoryName(target)) ?? ""
                : "";
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
