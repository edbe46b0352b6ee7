using System.Runtime.InteropServices;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>A file and the events to wait for: struct pollfd of poll(2).</summary>
[StructLayout(LayoutKind.Sequential)]
internal partial struct PollEntry
{
    public const short Input = 1, Output = 4;

    /// <summary>Stays open until the wait has ended.</summary>
    public int File;
    public short Wanted;
    public short Given;

    /// <summary>Waits until an event of an entry occurs; a negative timeout: without limit.</summary>
    /// <returns>The number of entries with events; 0: none in time; negative: see
    /// <see cref="Marshal.GetLastPInvokeError"/>.</returns>
    public static int Wait(Span<PollEntry> entries, int timeoutMilliseconds) =>
        poll(entries, (nuint)entries.Length, timeoutMilliseconds);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll(Span<PollEntry> entries, nuint count, int timeoutMilliseconds);
}
