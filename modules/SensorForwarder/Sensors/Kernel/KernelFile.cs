using System.Globalization;
using System.Text;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>Reads directories and the small files of sysfs, whose content is not trusted.</summary>
internal static class KernelFile
{
    const int MaxBytes = 4096;

    /// <summary>The text of a file, trimmed.</summary>
    /// <exception cref="SensorFault">It can't be read, or it is empty, which is how some drivers report that the read
    /// failed.</exception>
    public static string Read(string path)
    {
        try
        {
            using var file = File.OpenHandle(path);
            Span<byte> bytes = stackalloc byte[MaxBytes];
            var length = 0;
            while (length < MaxBytes
                && RandomAccess.Read(file, bytes[length..], length) is > 0 and var read) length += read;
            var text = Encoding.ASCII.GetString(bytes[..length]).Trim();
            return text.Length > 0
                ? text
                : throw new SensorFault(FaultReason.Io, $"{path} is empty: the read failed in the kernel");
        }
        catch (Exception exception) when (
            exception is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw FaultOf(exception, path);
        }
    }

    /// <summary>Converts an exception of a kernel file. A timeout there concerns one chip (one read in ten of a DHT22
    /// ends like that) and does not mean that a bus hangs.</summary>
    public static SensorFault FaultOf(Exception exception, string path)
    {
        var fault = SensorFault.From(exception, path);
        return fault.Reason == FaultReason.BusTimeout ? new(FaultReason.Io, fault.Message) : fault;
    }

    /// <summary>The text, or null when there is no such file or it is empty.</summary>
    public static string? TryRead(string path)
    {
        try
        {
            return Read(path);
        }
        catch (SensorFault)
        {
            return null;
        }
    }

    /// <exception cref="SensorFault">It can't be read, or is not a number.</exception>
    public static double ReadNumber(string path) => TryParse(Read(path), out var number)
        ? number
        : throw new SensorFault(FaultReason.Invalid, $"{path} holds no number");

    /// <summary>The number; null if it can't be read.</summary>
    public static double? TryReadNumber(string path) => TryRead(path) is { } text && TryParse(text, out var number)
        ? number
        : null;

    /// <summary>The paths in a directory, numbered ones in the order of their numbers; none if the directory can't be
    /// read.</summary>
    public static string[] Entries(string directory, string pattern)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(directory, pattern).OrderBy(path => path.Length)
                .ThenBy(path => path, StringComparer.Ordinal)];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    static bool TryParse(string text, out double number) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out number) && double.IsFinite(number);
}
