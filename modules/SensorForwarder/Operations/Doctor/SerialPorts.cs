using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Kernel;
using SensorForwarder.Sensors.Serial;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Doctor;

/// <summary>A serial port.</summary>
/// <param name="Path">Its device node, or a link whose name does not change.</param>
/// <param name="Port">The same as a sensor's option <c>port</c>.</param>
/// <param name="Node">Its node's name, such as ttyUSB0.</param>
/// <param name="About">Its adapter, as described by sysfs.</param>
internal sealed record SerialPortName(string Path, string Port, string Node, string About);

/// <summary>What is connected to a serial port that this process may use.</summary>
/// <param name="State">What was found, in words.</param>
/// <param name="Heard">The kind of the device that sends on it; null: none was recognised.</param>
internal sealed record FoundPort(SerialPortName Name, string State, HeardDevice? Heard)
{
    /// <summary>Nothing was received: a device that only answers requests may be connected.</summary>
    public bool IsSilent => Heard is { Kind: null, Bytes: 0 };
}

/// <summary>Finds serial ports, and listens to the unused ones.</summary>
internal static class SerialPorts
{
    /// <summary>Devices that send without a request do so at least every 2.5 s.</summary>
    public static readonly TimeSpan ListensFor = TimeSpan.FromSeconds(3);

    /// <summary>All ports, each under the name that survives a restart: one that a sensor uses, a link in
    /// /dev/serial/by-id, or /dev/serial0.</summary>
    /// <param name="used">The ports that sensors use, as in their option <c>port</c>.</param>
    public static IReadOnlyList<SerialPortName> Find(SensorRoots roots, IReadOnlyCollection<string> used)
    {
        var classes = Path.Combine(roots.Sysfs, "class/tty");
        var nodes = ((string[])["ttyUSB*", "ttyACM*", "ttyAMA*"])
            .SelectMany(pattern => KernelFile.Entries(roots.Dev, pattern)
                .Concat(KernelFile.Entries(classes, pattern)))
            .Concat(KernelFile.Entries(classes, "ttyS*").Where(IsThere))
            .Select(path => Path.Combine(roots.Dev, Path.GetFileName(path)));
        var links = KernelFile.Entries(Path.Combine(roots.Dev, "serial/by-id"), "*").Order(StringComparer.Ordinal)
            .Concat(KernelFile.Entries(roots.Dev, "serial?")).Where(File.Exists);
        return
        [
            .. used.Select(port => InDev(roots, port)).Concat(links).Concat(nodes).Distinct().GroupBy(Target)
                .Select(names => (Path: names.First(), Node: Path.GetFileName(names.Last())))
                .OrderBy(port => port.Node, StringComparer.Ordinal)
                .Select(port => new SerialPortName(
                    port.Path, $"/dev/{Path.GetRelativePath(roots.Dev, port.Path)}", port.Node,
                    About(classes, port.Node))),
        ];
    }

    /// <summary>Whether two names lead to the same port.</summary>
    public static bool IsSame(SensorRoots roots, string port, string path) =>
        Target(InDev(roots, port)) == Target(path);

    /// <summary>Listens to the ports that are usable and not in use, all at the same time.</summary>
    /// <param name="ports">The ports, each with the sensor that uses it, if any does.</param>
    /// <param name="patience">How long to listen at each rate.</param>
    public static IReadOnlyList<FoundPort> Listen(
        SensorKinds kinds, SensorWorld world, IReadOnlyList<(SerialPortName Name, string? Sensor)> ports,
        TimeSpan patience)
    {
        var users = TerminalUsers.Find(world.Roots, [.. ports.Select(port => port.Name.Node)]);
        return AtOnce.Ask(ports, port => port switch
        {
            { Sensor: { } sensor } => new FoundPort(port.Name, $"used by sensor {sensor}", null),
            _ when users.GetValueOrDefault(port.Name.Node) is { } user => new(port.Name, user, null),
            _ => Listen(kinds, world, port.Name, patience),
        });
    }

    static FoundPort Listen(SensorKinds kinds, SensorWorld world, SerialPortName name, TimeSpan patience)
    {
        try
        {
            var heard = PortListener.Listen(world, name.Port, kinds.All, patience);
            return new(name, heard switch
            {
                { Kind: { } kind } => $"{kind.Name} at {heard.Baud} baud",
                { Bytes: 0 } => "silent: a device that only answers requests may be connected, kind mhz19 or modbus",
                _ => $"{heard.Bytes} bytes received that no kind sends",
            }, heard);
        }
        catch (SensorFault fault)
        {
            return new(name, fault.Message, null);
        }
    }

    /// <summary>Whether the machine has the port: the kernel lists the usual ports of a PC even if they are missing.
    /// </summary>
    static bool IsThere(string port) => KernelFile.TryRead(Path.Combine(port, "type")) is not (null or "0");

    static string InDev(SensorRoots roots, string port) => Path.Combine(roots.Dev, port["/dev/".Length..]);

    static string Target(string path)
    {
        try
        {
            return File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path;
        }
        catch (IOException)
        {
            return path;
        }
    }

    /// <summary>Manufacturer and product of a USB adapter, from a directory some levels above the port's.</summary>
    static string About(string classes, string node)
    {
        const int MostAbove = 3;
        var port = Target(Path.Combine(classes, node));
        var directory = Target(Path.Combine(port, "device"));
        for (var above = 0; above < MostAbove && directory is not null; above++)
        {
            if (KernelFile.TryRead(Path.Combine(directory, "product")) is { } product)
                return LogText.Clean(
                    $"{KernelFile.TryRead(Path.Combine(directory, "manufacturer"))} {product}".Trim());
            directory = Path.GetDirectoryName(directory);
        }

        return "serial port";
    }
}
