using System.Globalization;

namespace SensorForwarder.Operations;

/// <summary>What the process had written to storage, as the kernel counts it in <c>/proc/self/io</c>: pages that were
/// dirtied, so the database, its log and nothing that stays in memory.</summary>
internal static class ProcessIo
{
    const string Field = "write_bytes:";
    static readonly TimeSpan Year = TimeSpan.FromDays(365.25);

    /// <summary>Null where the kernel does not tell.</summary>
    public static long? WrittenBytes()
    {
        try
        {
            foreach (var line in File.ReadLines("/proc/self/io"))
            {
                if (line.StartsWith(Field, StringComparison.Ordinal))
                    return long.Parse(line.AsSpan(Field.Length), CultureInfo.InvariantCulture);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or FormatException)
        {
            // A hardened kernel.
        }

        return null;
    }

    public static double PerYear(TimeSpan uptime) =>
        uptime > TimeSpan.Zero ? Math.Round((WrittenBytes() ?? 0) * (Year / uptime)) : 0;
}
