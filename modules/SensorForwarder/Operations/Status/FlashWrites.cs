using System.Globalization;

namespace SensorForwarder.Operations.Status;

/// <summary>
/// Measures the bytes written to flash since the start. If the volume is a file system that is mounted nowhere else,
/// these are all bytes written to its device, with the file system's journal (<c>/sys/dev/block/M:N/stat</c>).
/// Otherwise these are the bytes written by this process (<c>/proc/self/io</c>), without write amplification.
/// Thread-safe.
/// </summary>
internal sealed class FlashWrites
{
    // Documentation/block/stat.rst: the seventh number, in sectors of 512 bytes on every device.
    const int SectorsWritten = 6, SectorBytes = 512;
    const string Field = "write_bytes:";
    static readonly TimeSpan Year = TimeSpan.FromDays(365.25);

    readonly string _root;
    readonly string? _stat;
    readonly long _before;

    /// <param name="root">Prefix of <c>/proc</c> and <c>/sys</c>.</param>
    public FlashWrites(string directory, string root = "/")
    {
        (_root, _stat) = (root, FindStat(directory, root));
        _before = _stat is null ? 0 : DeviceBytes(_stat) ?? 0;
    }

    /// <summary>Bytes since the start; null if the kernel does not count them.</summary>
    public long? WrittenBytes() =>
        _stat is not null && DeviceBytes(_stat) is { } written ? written - _before : ProcessBytes();

    /// <summary>Extrapolates the bytes since the start to a year.</summary>
    public static double PerYear(long? writtenBytes, TimeSpan uptime) =>
        uptime > TimeSpan.Zero ? Math.Round((writtenBytes ?? 0) * (Year / uptime)) : 0;

    // Lines such as "36 35 98:0 / /data rw,noatime shared:1 - ext4 /dev/sda1 rw" (proc_pid_mountinfo(5)).
    static string? FindStat(string directory, string root)
    {
        var mounts = Lines(Path.Combine(root, "proc/self/mountinfo")).Select(line => line.Split(' '))
            .Where(words => words.Length > 4)
            .Select(words => (Device: words[2], Root: words[3], Point: words[4])).ToList();
        var path = Path.GetFullPath(directory);
        var mount = mounts.Where(mount => path == mount.Point
                || path.StartsWith(mount.Point.TrimEnd('/') + "/", StringComparison.Ordinal))
            .DefaultIfEmpty().MaxBy(mount => mount.Point?.Length ?? 0);
        return mount is { Root: "/", Point: not "/" } && mounts.Count(other => other.Device == mount.Device) == 1
            ? Path.Combine(root, "sys/dev/block", mount.Device, "stat")
            : null;
    }

    static long? DeviceBytes(string stat) => Lines(stat).FirstOrDefault()?.Split(
        ' ', StringSplitOptions.RemoveEmptyEntries) is { Length: > SectorsWritten } numbers
        && long.TryParse(numbers[SectorsWritten], NumberStyles.None, CultureInfo.InvariantCulture, out var sectors)
            ? sectors * SectorBytes
            : null;

    long? ProcessBytes() => Lines(Path.Combine(_root, "proc/self/io"))
        .Where(line => line.StartsWith(Field, StringComparison.Ordinal))
        .Select(line => (long?)long.Parse(line.AsSpan(Field.Length), CultureInfo.InvariantCulture))
        .FirstOrDefault();

    static string[] Lines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // A hardened kernel, or no block device.
            return [];
        }
    }
}
