using System.Device.I2c;
using System.Globalization;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Drivers;
using SensorForwarder.Sensors.Kernel;

namespace SensorForwarder.Operations.Doctor;

/// <summary>A chip that answers on an I2C bus, or that a kernel driver uses.</summary>
/// <param name="Kinds">The kinds that it may be; only one if it identifies itself.</param>
/// <param name="Owner">The kernel driver or sensor that uses it, so that it was not probed; null: none.</param>
internal sealed record FoundChip(int Bus, int Address, IReadOnlyList<string> Kinds, string? Owner);

/// <summary>A GPIO chip.</summary>
/// <param name="Node">Such as gpiochip0.</param>
/// <param name="Label">Its driver's name for it: the option <c>chip</c> of the kinds <c>gpio</c> and
/// <c>counter</c>.</param>
/// <param name="Lines">All its lines with their names and users.</param>
internal sealed record FoundGpio(string Node, string Label, IReadOnlyList<GpioLineInfo> Lines);

/// <summary>A kernel device that a sensor could read.</summary>
/// <param name="Kind">The kind that reads it.</param>
/// <param name="Name">Its name or type.</param>
/// <param name="Parent">The chip that it belongs to; empty: none.</param>
internal sealed record FoundSource(string Kind, string Name, string Parent, IReadOnlyList<string> Channels);

/// <summary>
/// Finds the hardware for sensors (buses, chips, kernel devices, serial ports) and whether this process may use it.
/// Changes nothing: it probes chips with commands that only read, only listens to serial ports, and leaves alone what
/// is in use. It does not search a network. Made for the option <c>--doctor</c> and the direct method <c>doctor</c>;
/// immutable.
/// </summary>
internal sealed class Examination
{
    const int LastI2cAddress = 0x77;
    const int TimeoutsToGiveUp = 2;

    public required ProcessIdentity Process { get; init; }

    public required IReadOnlyList<DeviceNode> Nodes { get; init; }

    public required IReadOnlyList<FoundChip> Chips { get; init; }

    public required IReadOnlyList<FoundSource> Sources { get; init; }

    public required IReadOnlyList<FoundGpio> Gpios { get; init; }

    /// <summary>The serial ports that this process may use.</summary>
    public required IReadOnlyList<FoundPort> Ports { get; init; }

    /// <summary>The sensors of the settings on serial ports and Modbus connections.</summary>
    public required IReadOnlyList<CheckedSensor> Checked { get; init; }

    /// <summary>The nodes of <see cref="Nodes"/> that sensors of the settings use.</summary>
    public required IReadOnlySet<string> InUse { get; init; }

    /// <summary>The bus that a multiplexer is on, for each bus behind it; by number.</summary>
    public required IReadOnlyDictionary<int, int> Parents { get; init; }

    /// <summary>The directories that the kind <c>file</c> may read.</summary>
    public required IReadOnlyList<string> FileRoots { get; init; }

    /// <param name="running">The running sensors; their devices are not touched.</param>
    /// <param name="configured">Sensors of the settings, if no module runs; they are read once.</param>
    /// <param name="listensFor">How long to listen to a serial port at each rate.</param>
    public static Examination Make(
        SensorKinds kinds, SensorWorld world, IReadOnlyCollection<SensorSettings> running,
        IReadOnlyCollection<SensorSettings>? configured = null, TimeSpan? listensFor = null)
    {
        var known = running.Concat(configured ?? []).ToList();
        var used = known.Select(sensor => (Sensor: sensor, Port: sensor.Kind.Bus(sensor)))
            .Where(user => user.Port?.StartsWith("/dev/", StringComparison.Ordinal) == true).ToList();
        var ports = SerialPorts.Find(world.Roots, [.. used.Select(user => user.Port!)]);
        var portNodes = ports.Select(port => DeviceNode.Examine(port.Path, port.About, isSerial: true)).ToList();
        List<DeviceNode> nodes = [.. FindNodes(world.Roots), .. portNodes];
        var owners = running.Select(sensor => (Place: sensor.Kind.Claims(sensor), Sensor: sensor))
            .Where(owner => owner.Place is not null).ToDictionary(owner => owner.Place!, owner => owner.Sensor);
        return new()
        {
            Process = ProcessIdentity.Read(),
            Nodes = nodes,
            Chips = [.. nodes.SelectMany(node => FindChips(kinds, world, node, owners))],
            Ports = SerialPorts.Listen(
                kinds, world,
                [
                    .. ports.Zip(portNodes).Where(port => port.Second.Access == NodeAccess.Usable).Select(port => (
                        port.First,
                        used.Find(user => SerialPorts.IsSame(world.Roots, user.Port!, port.First.Path)).Sensor?.Name)),
                ],
                listensFor ?? SerialPorts.ListensFor),
            Checked =
            [
                .. running.Where(SensorCheck.IsFor).Select(SensorCheck.Running),
                .. SensorCheck.Check(world, [.. (configured ?? []).Where(SensorCheck.IsFor)]),
            ],
            InUse = nodes.Select(node => node.Path).Where(path => known.Any(sensor => IsOf(sensor, path, world.Roots)))
                .ToHashSet(),
            Parents = nodes.Select(node => BusOf(node.Path)).OfType<int>()
                .Select(bus => (Bus: bus, Parent: ParentOf(world.Roots, bus))).Where(bus => bus.Parent is not null)
                .ToDictionary(bus => bus.Bus, bus => bus.Parent!.Value),
            Sources = [.. FindSources(world.Roots)],
            Gpios =
                [.. nodes.Where(node => node.Access == NodeAccess.Usable).Select(node => Path.GetFileName(node.Path))
                .Intersect(GpioChip.Nodes(world.Roots)).Select(node => TryLook(world.Roots, node)).OfType<FoundGpio>()],
            FileRoots = world.Roots.Files,
        };
    }

    /// <summary>The nodes in /dev, and those that sysfs lists but this container does not have.</summary>
    static List<DeviceNode> FindNodes(SensorRoots roots)
    {
        var paths = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var (inDev, inSysfs) in ((string, string)[])
            [("i2c-*", "class/i2c-dev"), ("spidev*", "class/spidev"), ("gpiochip*", "bus/gpio/devices")])
        {
            var inBoth = KernelFile.Entries(roots.Dev, inDev)
                .Concat(KernelFile.Entries(Path.Combine(roots.Sysfs, inSysfs), inDev));
            foreach (var path in inBoth)
                paths.Add(Path.Combine(roots.Dev, Path.GetFileName(path)));
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
        SensorKinds known, SensorWorld world, DeviceNode node, Dictionary<string, SensorSettings> owners)
    {
        if (BusOf(node.Path) is not { } bus) yield break;
        var (mayAsk, timeouts) = (node.Access == NodeAccess.Usable, 0);
        if (mayAsk)
        {
            mayAsk = !I2cPort.IsHeldLow(world, bus, out var hasTimedOut);
            if (hasTimedOut) timeouts++;
        }

        for (var address = 0; address <= LastI2cAddress; address++)
        {
            var kinds = known.All.Where(kind => kind.Probe is not null && kind.I2cAddresses.Contains(address))
                .ToList();
            if (I2cPort.KernelDriver(world.Roots, bus, address) is { } driver)
                yield return new(bus, address, [], $"kernel driver {driver}");
            else if (owners.TryGetValue(I2cPort.Place(bus, address), out var sensor))
                yield return new(bus, address, [sensor.Kind.Name], $"sensor {sensor.Name}");
            else if (mayAsk && timeouts < TimeoutsToGiveUp && kinds.Count > 0
                && Ask(world, bus, address, kinds, ref timeouts) is { Count: > 0 } recognised)
                yield return new(bus, address, recognised, null);
        }
    }

    /// <summary>The number of an I2C bus; null: the node is not one.</summary>
    static int? BusOf(string path) => Path.GetFileName(path).Split('-') is ["i2c", var number]
        && int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var bus) ? bus : null;

    /// <summary>The bus that the multiplexer of a bus is on; null: the bus is not behind one. In sysfs, the directory
    /// of such a bus is inside that of its parent.</summary>
    static int? ParentOf(SensorRoots roots, int bus)
    {
        var place = new DirectoryInfo(Path.Combine(roots.Sysfs, $"bus/i2c/devices/i2c-{bus}")).LinkTarget;
        return place is null ? null : BusOf(Path.GetDirectoryName(place.TrimEnd('/')) ?? "");
    }

    static bool IsOf(SensorSettings sensor, string node, SensorRoots roots)
    {
        var name = Path.GetFileName(node);
        return sensor.Kind.Connection switch
        {
            "I2C" => sensor.Kind.Bus(sensor) == name,
            "SPI" => name.StartsWith("spidev", StringComparison.Ordinal) && sensor.Kind.Claims(sensor)
                == SpiPort.Place(name["spidev".Length..]),
            "GPIO" => name.StartsWith("gpiochip", StringComparison.Ordinal),
            _ => sensor.Kind.Bus(sensor) is { } port && port.StartsWith("/dev/", StringComparison.Ordinal)
                && SerialPorts.IsSame(roots, port, node),
        };
    }

    /// <summary>The kinds whose probe the chip answers. Kinds with an id are tried before those that are guessed.
    /// </summary>
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
                // A command needs time before its answer is read; a register is read in one transfer.
                if (probe.Write.Length == 1 && probe.ReadLength <= 2) chip.WriteRead(probe.Write, answer);
                else
                {
                    if (probe.Write.Length > 0) chip.Write(probe.Write);
                    world.TimeProvider.Pause(TimeSpan.FromMilliseconds(10), CancellationToken.None);
                    chip.Read(answer);
                }

                // All bits are 1: no chip drives the line.
                if (answer.All(value => value == 0xFF) || !probe.Recognises(answer)) continue;
                if (!probe.IsGuess) return [kind.Name];
                guesses.Add(kind.Name);
            }
            catch (IOException exception)
            {
                // No chip, or not this kind.
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
            return null; // not a GPIO chip, or removed meanwhile
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
            return []; // removed meanwhile
        }
    }
}
