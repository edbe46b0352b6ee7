namespace SensorForwarder.Sensors;

/// <summary>
/// Makes all thermometers of a 1-wire bus measure at once: 750 ms for all of them instead of for each. The kernel has
/// <c>therm_bulk_read</c> for it since 5.8; where the process may not write that, each thermometer measures when it is
/// read. Used by the 1-wire buses' thread only. Source: drivers/w1/slaves/w1_therm.c of Linux.
/// </summary>
internal sealed class OneWireConversions
{
    // Sensors with the same interval are due within the second that starts are spread over.
    static readonly TimeSpan FreshFor = TimeSpan.FromSeconds(2);
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);
    static readonly TimeSpan Between = TimeSpan.FromMilliseconds(20);

    readonly Dictionary<string, Conversion> _last = [];

    /// <summary>Sees to it that the device has a conversion of its own that is not old and has not been read.</summary>
    /// <param name="devices">Such as /sys/bus/w1/devices.</param>
    /// <param name="device">Such as 28-0316a2795e1f.</param>
    /// <param name="timeProvider">The clock.</param>
    /// <param name="cancellationToken">Gives up waiting.</param>
    /// <exception cref="SensorFault">It worked before and fails now: the kernel may give old values.</exception>
    public void Convert(
        string devices, string device, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        if (MasterOf(Path.Combine(devices, device)) is not { } master) return;
        var last = _last.GetValueOrDefault(master);
        if (last is not null && timeProvider.GetElapsedTime(last.At) <= FreshFor && last.Read.Add(device)) return;
        var path = Path.Combine(devices, master, "therm_bulk_read");
        if (TryTrigger(path) is { } exception)
        {
            if (last is null) return;
            throw new SensorFault(FaultReason.Io, $"{path}: {exception.Message}");
        }

        // The kernel returns when the conversion has ended; another one may have been under way.
        var began = timeProvider.GetTimestamp();
        while (!HasEnded(path) && timeProvider.GetElapsedTime(began) < Patience)
            timeProvider.Pause(Between, cancellationToken);
        _last[master] = new(timeProvider.GetTimestamp(), [device]);
    }

    /// <summary>The bus of a device; null: not known.</summary>
    static string? MasterOf(string device)
    {
        try
        {
            return Path.GetFileName(Path.GetDirectoryName(new DirectoryInfo(device).LinkTarget?.TrimEnd('/')));
        }
        catch (IOException)
        {
            return null;
        }
    }

    // -1: a conversion is under way; 1: it has ended; 0: and all have been read.
    static bool HasEnded(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim() is "0" or "1";
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    static Exception? TryTrigger(string path)
    {
        try
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
            RandomAccess.Write(file, "trigger\n"u8, 0);
            return null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return exception;
        }
    }

    /// <param name="At">When it ended.</param>
    /// <param name="Read">The devices that were read since.</param>
    sealed record Conversion(long At, HashSet<string> Read);
}
