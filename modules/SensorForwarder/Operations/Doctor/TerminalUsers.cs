using System.Globalization;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Kernel;

namespace SensorForwarder.Operations.Doctor;

/// <summary>Finds the users of terminals, such as a login on a serial line: another reader would take their input away.
/// In a container only its own processes are visible.</summary>
internal static class TerminalUsers
{
    /// <summary>The users of nodes in /dev: processes that have one open (as far as this process may see that) or that
    /// have it as their controlling terminal, and the kernel's console.</summary>
    /// <param name="nodes">The nodes to look for, such as ttyS1.</param>
    /// <returns>A description of the user, by node.</returns>
    public static IReadOnlyDictionary<string, string> Find(SensorRoots roots, IReadOnlyCollection<string> nodes)
    {
        var users = new Dictionary<string, string>(StringComparer.Ordinal);
        var numbers = nodes.ToLookup(node => Number(Path.Combine(roots.Sysfs, "class/tty", node, "dev")));
        foreach (var process in KernelFile.Entries(roots.Proc, "*"))
        {
            var id = Path.GetFileName(process);
            if (!id.All(char.IsAsciiDigit)) continue;
            var terminals = KernelFile.Entries(Path.Combine(process, "fd"), "*").Select(LinkTarget)
                .Where(target => Path.GetDirectoryName(target) == "/dev").Select(Path.GetFileName)
                .Concat(numbers[TerminalOf(process)]);
            foreach (var node in terminals) users.TryAdd(node!, $"used by process {id}");
        }

        var consoles = KernelFile.TryRead(Path.Combine(roots.Sysfs, "class/tty/console/active")) ?? "";
        foreach (var node in consoles.Split(' ')) users[node] = "the kernel's console";
        return users;
    }

    static string? LinkTarget(string link)
    {
        try
        {
            return new FileInfo(link).LinkTarget;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null; // closed meanwhile
        }
    }

    /// <summary>Field tty_nr of /proc/PID/stat, the fifth after the name in parentheses; -1: none.</summary>
    static int TerminalOf(string process)
    {
        const int Fifth = 5;
        var stat = KernelFile.TryRead(Path.Combine(process, "stat")) ?? "";
        return stat[(stat.LastIndexOf(')') + 1)..].Split(' ') is { Length: > Fifth } fields
            && int.TryParse(fields[Fifth], CultureInfo.InvariantCulture, out var number) && number > 0 ? number : -1;
    }

    /// <summary>A device number such as 4:65, encoded as in tty_nr; -2: none.</summary>
    static int Number(string path)
    {
        const int MinorBits = 8, HighMinor = 12;
        if (KernelFile.TryRead(path)?.Split(':') is not [var major, var minor]
            || !int.TryParse(major, CultureInfo.InvariantCulture, out var first)
            || !int.TryParse(minor, CultureInfo.InvariantCulture, out var second)) return -2;
        return (second & 0xFF) | (first << MinorBits) | ((second & ~0xFF) << HighMinor);
    }
}
