using System.Device.I2c;
using System.Globalization;
using System.Text.RegularExpressions;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Drivers;
using SensorForwarder.Sensors.Kernel;

namespace SensorForwarder.Operations.Doctor;

/// <summary>A chip that answers on an I2C bus, or that a kernel driver has.</summary>
/// <param name="Bus">Number of the bus.</param>
/// <param name="Address">Its address.</param>
/// <param name="Kinds">What it can be; one, when it says so itself.</param>
/// <param name="Owner">The kernel driver or the sensor that has it, so that it was not asked; null: none.</param>
internal sealed record FoundChip(int Bus, int Address, IReadOnlyList<string> Kinds, string? Owner);

/// <summary>A GPIO chip.</summary>
/// <param name="Node">Such as gpiochip0.</param>
/// <param name="Label">What its driver calls it, which kinds <c>gpio</c> and
/// <c>counter</c> take as <c>chip</c>.</param>
/// <param name="Lines">All its lines: names, and who uses them.</param>
internal sealed record FoundGpio(string Node, string Label, IReadOnlyList<GpioLineInfo> Lines);

/// <summary>A source of the kernel that a sensor could read.</summary>
/// <param name="Kind">The kind that reads it.</param>
/// <param name="Name">Its name or type.</param>
/// <param name="Parent">The chip that it belongs to; empty: none.</param>
/// <param name="Channels">What it has.</param>
internal sealed record FoundSource(string Kind, string Name, string Parent, IReadOnlyList<string> Channels);

/// <summary>
/// Looks at what there is for sensors: buses, chips, sources of the kernel, and whether this process may use them.
/// Changes nothing: chips are asked by commands that only read, and not at all where something else has them.
/// </summary>
internal sealed partial class Examination
{
    const int LastI2cAddress = 0x77;
    const int TimeoutsToGiveUp = 2;

    public required ProcessIdentity Process { get; init; }

    public required IReadOnlyList<DeviceNode> Nodes { get; init; }

    public required IReadOnlyList<FoundChip> Chips { get; init; }

    public required IReadOnlyList<FoundSource> Sources { get; init; }

    public required IReadOnlyList<FoundGpio> Gpios { get; init; }

    /// <summary>Where kind <c>file</c> may read.</summary>
    public required IReadOnlyList<string> FileRoots { get; init; }

    /// <param name="world">Where to look.</param>
    /// <param name="running">Sensors that are read at the same time; their chips are left alone.</param>
    public static Examination Make(SensorWorld world, IReadOnlyCollection<SensorSettings> running)
    {
        var nodes = FindNodes(world.Roots);
        var owners = running.Select(sensor => (Place: SensorKinds.Find(sensor.Kind).Claims(sensor), Sensor: sensor))
            .Where(owner => owner.Place is not null).ToDictionary(owner => owner.Place!, owner => owner.Sensor);
        return new()
        {
            Process = ProcessIdentity.Read(),
            Nodes = nodes,
            Chips = [.. nodes.SelectMany(node => FindChips(world, node, owners))],
            Sources = [.. FindSources(world.Roots)],
            Gpios =
                [.. nodes.Where(node => node.Access == NodeAccess.Usable).Select(node => Path.GetFileName(node.Path))
                .Intersect(GpioChip.Nodes(world.Roots)).Select(node => TryLook(world.Roots, node)).OfType<FoundGpio>()],
            FileRoots = world.Roots.Files,
        };
    }

    /// <summary>Nodes that are in /dev, and those that sysfs knows but this container does not have.</summary>
    static List<DeviceNode> FindNodes(SensorRoots roots)
    {
        var paths = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var (inDev, inSysfs) in ((string, string)[])[(
            "i2c-*", "class/i2c-dev"), ("spidev*", "class/spidev"), ("gpiochip*", "bus/gpio/devices")])
        {
            foreach (var path in Entries(roots.Dev, inDev)) paths.Add(path);
            foreach (var path in Entries(Path.Combine(roots.Sysfs, inSysfs), inDev)) paths.Add(
                Path.Combine(roots.Dev, Path.GetFileName(path)));
        }

        return [.. paths.Select(path => DeviceNode.Examine(path, About(roots, Path.GetFileName(path))))];
    }

    static string About(SensorRoots roots, string node)
    {
        if (node.StartsWith("i2c-", StringComparison.Ordinal))
            return KernelFile.TryRead(Path.Combine(roots.Sysfs, "class/i2c-dev", node, "name")) ?? "I2C bus";
        if (node.StartsWith("spidev", StringComparison.Ordinal)) return "SPI chip select";
        var chip = new DirectoryInfo(Path.Combine(roots.Sysfs, "bus/gpio/devices", node));
        return chip.LinkTarget is { } target ? $"GPIO of {Path.GetFileName(Path.GetDirectoryName(target))}" : "GPIO";
    }

    static IEnumerable<FoundChip> FindChips(
        SensorWorld world, DeviceNode node, Dictionary<string, SensorSettings> owners)
    {
        var match = I2cNode().Match(node.Path);
        if (!match.Success) yield break;
        var bus = int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture);
        var timeouts = 0;
        for (var address = 0; address <= LastI2cAddress; address++)
        {
            var kinds = SensorKinds.All.Where(kind => kind.Probe is not null && kind.I2cAddresses.Contains(address))
                .ToList();
            if (I2cPort.KernelDriver(world.Roots, bus, address) is { } driver)
                yield return new(bus, address, [], $"kernel driver {driver}");
            else if (owners.TryGetValue(I2cPort.Place(bus, address), out var sensor))
                yield return new(bus, address, [sensor.Kind], $"sensor {sensor.Name}");
            else if (node.Access == NodeAccess.Usable && timeouts < TimeoutsToGiveUp && kinds.Count > 0
                && Ask(world, bus, address, kinds, ref timeouts) is { Count: > 0 } recognised)
                yield return new(bus, address, recognised, null);
        }
    }

    /// <summary>The kinds whose question the chip answers; those that have an id go before
    /// those that are guessed.</summary>
    static List<string> Ask(SensorWorld world, int bus, int address, List<SensorKind> kinds, ref int timeouts)
    {
        using var chip = TryOpen(world, bus, address);
        if (chip is null) return [];
        var guesses = new List<string>();
        foreach (var kind in kinds.OrderBy(kind => kind.Probe!.IsGuess))
        {
            var probe = kind.Probe!;
            try
            {
                var answer = new byte[probe.ReadLength];
                // A command needs a moment; a register is read in one transfer.
                if (probe.Write.Length == 1 && probe.ReadLength <= 2) chip.WriteRead(probe.Write, answer);
                else
                {
                    if (probe.Write.Length > 0) chip.Write(probe.Write);
                    world.TimeProvider.Pause(TimeSpan.FromMilliseconds(10), CancellationToken.None);
                    chip.Read(answer);
                }

                if (!probe.Recognises(answer)) continue;
                if (!probe.IsGuess) return [kind.Name];
                guesses.Add(kind.Name);
            }
            catch (IOException exception)
            {
                // Nothing there, or not this kind.
                if (SensorFault.From(exception, kind.Name).Reason == FaultReason.BusTimeout
                    && ++timeouts >= TimeoutsToGiveUp) break;
            }
        }

        return guesses;
    }

    static I2cDevice? TryOpen(SensorWorld world, int bus, int address)
    {
        try
        {
            return world.OpenI2c(bus, address);
        }
        catch (IOException)
        {
            return null;
        }
    }

    static IEnumerable<FoundSource> FindSources(SensorRoots roots)
    {
        foreach (var device in KernelClass.Iio(roots).List())
            yield return new(IioChannels.Kind.Name, device.Name, device.Parent, Channels(
                device, IioChannels.Enumerate));
        foreach (var device in KernelClass.Hwmon(roots).List())
            yield return new(HwmonChannels.Kind.Name, device.Name, device.Parent, Channels(
                device, HwmonChannels.Enumerate));
        foreach (var zone in KernelClass.Thermal(roots).List())
            yield return new(ThermalZone.Kind.Name, zone.Name, "", ["temp"]);
        foreach (var device in OneWireSensor.List(roots))
            yield return new(OneWireSensor.Kind.Name, device, "", ["temperature"]);
    }

    static FoundGpio? TryLook(SensorRoots roots, string node)
    {
        try
        {
            using var chip = GpioChip.Open(roots, node);
            return new(node, chip.Label, [.. Enumerable.Range(0, chip.Lines).Select(chip.InfoOf)]);
        }
        catch (SensorFault)
        {
            return null; // not one, or gone meanwhile
        }
    }

    static string[] Channels(KernelDevice device, Func<KernelDevice, IEnumerable<KernelChannel>> enumerate)
    {
        try
        {
            return [.. enumerate(device).Select(channel => channel.Channel)];
        }
        catch (IOException)
        {
            return []; // it went away meanwhile
        }
    }

    static string[] Entries(string directory, string pattern)
    {
        try
        {
            return Directory.GetFileSystemEntries(directory, pattern);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    [GeneratedRegex(@"/i2c-(\d{1,3})$", RegexOptions.CultureInvariant)]
    private static partial Regex I2cNode();
}
