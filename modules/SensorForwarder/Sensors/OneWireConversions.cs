namespace SensorForwarder.Sensors;

/// <summary>
/// Starts the conversions of all thermometers of a 1-wire bus together: 750 ms in total instead of 750 ms each. Uses
/// the kernel's <c>therm_bulk_read</c> (Linux 5.8); if the process may not write it, each thermometer converts when it
/// is read. Used by the 1-wire buses' thread only. Source: drivers/w1/slaves/w1_therm.c of Linux.
/// </summary>
internal sealed class OneWireConversions
{
    // Sensors with the same interval are due within one second, over which their starts are spread.
    static readonly TimeSpan FreshFor = TimeSpan.FromSeconds(2);
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);
    static readonly TimeSpan Between = TimeSpan.FromMilliseconds(20);

    readonly Dictionary<string, Conversion> _last = [];

    /// <summary>Ensures that the device has a recent conversion that has not been read yet.</summary>
    /// <param name="devices">Such as /sys/bus/w1/devices.</param>
    /// <param name="device">Such as 28-0316a2795e1f.</param>
    /// <exception cref="SensorFault">The trigger worked before and fails now, so the kernel may return an old value.
    /// </exception>
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

        // The write returns when the conversion has ended, unless one was in progress already.
        var began = timeProvider.GetTimestamp();
        while (!HasEnded(path) && timeProvider.GetElapsedTime(began) < Patience)
            timeProvider.Pause(Between, cancellationToken);
        _last[master] = new(timeProvider.GetTimestamp(), [device]);
    }

    /// <summary>The bus of a device; null if unknown.</summary>
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

    // -1: conversion in progress; 1: ended, with unread devices; 0: all read.
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
    /// <param name="Read">The devices that have been read since.</param>
    sealed record Conversion(long At, HashSet<string> Read);
}
