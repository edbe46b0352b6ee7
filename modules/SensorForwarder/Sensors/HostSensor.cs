using System.Globalization;

namespace SensorForwarder.Sensors;

/// <summary>
/// Kind <c>host</c>: the state of the machine, from /proc and /sys. Values that the machine lacks are omitted.
/// Percentages are 0..100; network bytes are counted since boot, without loopback.
/// </summary>
internal sealed class HostSensor(SensorRoots roots) : ISensor
{
    public static SensorKind Kind { get; } = new(
        "host", "the machine itself: CPU, memory, disk of the data volume, network, uptime, SoC temperature", [],
        (_, world) => new HostSensor(world.Roots))
    {
        Connection = "kernel",
        Values =
        [
            new("cpuPercent", "percent", 0, 100), new("load1", "processes"),
            new("memoryUsedPercent", "percent", 0, 100), new("memoryAvailableBytes", "bytes"),
            new("diskUsedPercent", "percent", 0, 100), new("diskFreeBytes", "bytes"),
            new("networkReceivedBytes", "bytes"), new("networkSentBytes", "bytes"),
            new("temperature", "degrees Celsius"), new("uptimeSeconds", "seconds"),
        ],
    };

    (long Busy, long Total)? _lastCpu;

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        var values = new List<KeyValuePair<string, double>>(10);
        AddIfRead(values, AddCpu);
        AddIfRead(values, AddLoad);
        AddIfRead(values, AddMemory);
        AddIfRead(values, AddDisk);
        AddIfRead(values, AddNetwork);
        AddIfRead(values, AddTemperature);
        AddIfRead(values, AddUptime);
        // The kernel may report nan, and a file system may have a size of 0.
        values.RemoveAll(value => !double.IsFinite(value.Value));
        return ValueTask.FromResult(values.Count > 0 ? new Measurement(values) : Measurement.Bad("io"));
    }

    public void Dispose()
    {
    }

    // A missing or malformed file must not affect the other values.
    static void AddIfRead(List<KeyValuePair<string, double>> values, Action<List<KeyValuePair<string, double>>> add)
    {
        try
        {
            add(values);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or FormatException
            or IndexOutOfRangeException or OverflowException or ArgumentException)
        {
            // The machine lacks this value.
        }
    }

    /// <summary>Share of time in which the processors worked since the last reading (since boot at the first one).
    /// Fields of the first line of /proc/stat, proc(5): user nice system idle iowait irq softirq steal.</summary>
    void AddCpu(List<KeyValuePair<string, double>> values)
    {
        var fields = FirstLine("stat").Split(' ', StringSplitOptions.RemoveEmptyEntries);
        long total = 0;
        for (var i = 1; i <= 8; i++) total += Whole(fields[i]);
        var busy = total - Whole(fields[4]) - Whole(fields[5]);
        var last = _lastCpu ?? (0, 0);
        _lastCpu = (busy, total);
        if (total > last.Total)
            values.Add(new("cpuPercent", Math.Clamp(
                Math.Round(100.0 * (busy - last.Busy) / (total - last.Total), 1), 0, 100)));
    }

    void AddLoad(List<KeyValuePair<string, double>> values) =>
        values.Add(new("load1", double.Parse(FirstLine("loadavg").Split(' ')[0], CultureInfo.InvariantCulture)));

    void AddMemory(List<KeyValuePair<string, double>> values)
    {
        long total = 0;
        long? available = null;
        foreach (var line in File.ReadLines(Path.Combine(roots.Proc, "meminfo")))
        {
            if (line.StartsWith("MemTotal:", StringComparison.Ordinal)) total = KibiBytes(line);
            else if (line.StartsWith("MemAvailable:", StringComparison.Ordinal)) available = KibiBytes(line);
        }

        if (total <= 0 || available is not { } free) return;
        values.Add(new("memoryUsedPercent", Math.Round(100.0 * (total - free) / total, 1)));
        values.Add(new("memoryAvailableBytes", free));
    }

    void AddDisk(List<KeyValuePair<string, double>> values)
    {
        var drive = new DriveInfo(Path.GetFullPath(roots.DataDirectory));
        values.Add(new("diskUsedPercent", Math.Round(
            100.0 * (drive.TotalSize - drive.AvailableFreeSpace) / drive.TotalSize, 1)));
        values.Add(new("diskFreeBytes", drive.AvailableFreeSpace));
    }

    /// <summary>proc(5), /proc/net/dev: after the colon the first field is bytes received,
    /// the ninth bytes sent.</summary>
    void AddNetwork(List<KeyValuePair<string, double>> values)
    {
        double received = 0, sent = 0;
        foreach (var line in File.ReadLines(Path.Combine(roots.Proc, "net/dev")).Skip(2))
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon < 0 || line.AsSpan(0, colon).Trim().SequenceEqual("lo")) continue;
            var fields = line[(colon + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            received += Whole(fields[0]);
            sent += Whole(fields[8]);
        }

        values.Add(new("networkReceivedBytes", received));
        values.Add(new("networkSentBytes", sent));
    }

    /// <summary>Temperature of the SoC in degrees Celsius; thermal zones give thousandths of a degree.</summary>
    void AddTemperature(List<KeyValuePair<string, double>> values)
    {
        var text = File.ReadAllText(Path.Combine(roots.Sysfs, "class/thermal/thermal_zone0/temp"));
        values.Add(new("temperature", Math.Round(Whole(text.Trim()) / 1000.0, 1)));
    }

    void AddUptime(List<KeyValuePair<string, double>> values) =>
        values.Add(new("uptimeSeconds", double.Parse(FirstLine("uptime").Split(' ')[0], CultureInfo.InvariantCulture)));

    string FirstLine(string file) => File.ReadLines(Path.Combine(roots.Proc, file)).FirstOrDefault() ?? "";

    static long KibiBytes(string line) =>
        Whole(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]) * 1024;

    static long Whole(string text) => long.Parse(text, CultureInfo.InvariantCulture);
}
