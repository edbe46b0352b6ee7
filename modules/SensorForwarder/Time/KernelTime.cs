using System.Runtime.InteropServices;

namespace SensorForwarder.Time;

/// <summary>The kernel's uptime, boot id and clock synchronisation at one time.</summary>
/// <param name="Uptime">Time since boot, suspends included; monotonic.</param>
/// <param name="BootId">Different after every boot.</param>
/// <param name="Synchronized">Whether a time service synchronises the wall clock.</param>
internal readonly record struct KernelTime(TimeSpan Uptime, string BootId, bool Synchronized)
{
    /// <summary>Reads the kernel's clocks for <see cref="TimeProvider.System"/> on Linux; derives them from any other
    /// time provider.</summary>
    public static Func<KernelTime> For(TimeProvider timeProvider)
    {
        if (timeProvider == TimeProvider.System && OperatingSystem.IsLinux())
            return LinuxClocks.Read;
        var start = timeProvider.GetTimestamp();
        return () => new KernelTime(timeProvider.GetElapsedTime(start), "process", Synchronized: true);
    }
}

/// <summary>Reads CLOCK_BOOTTIME, <c>/proc/sys/kernel/random/boot_id</c> and adjtimex(2). Thread-safe.</summary>
internal static partial class LinuxClocks
{
    const int ClockBoottime = 7;
    const int TimeError = 5;

    // struct timex has 208 bytes on 64-bit Linux, fewer on 32-bit. modes = 0 (the first field) changes nothing.
    const int TimexBytes = 256;

    // The synchronisation state changes within minutes; reading it costs a system call.
    static readonly TimeSpan SynchronizedValidFor = TimeSpan.FromSeconds(1);

    static readonly string BootId = ReadBootId();
    static long _synchronizedUntilTicks = long.MinValue;
    static bool _synchronized;

    public static KernelTime Read()
    {
        var uptime = ReadUptime();
        if (uptime.Ticks >= Volatile.Read(ref _synchronizedUntilTicks))
        {
            Volatile.Write(ref _synchronized, AskSynchronized());
            Volatile.Write(ref _synchronizedUntilTicks, (uptime + SynchronizedValidFor).Ticks);
        }
        return new KernelTime(uptime, BootId, Volatile.Read(ref _synchronized));
    }

    static TimeSpan ReadUptime() =>
        clock_gettime(ClockBoottime, out var time) == 0
            ? TimeSpan.FromTicks((time.Seconds * TimeSpan.TicksPerSecond) + (time.Nanoseconds / 100))
            : TimeSpan.FromMilliseconds(Environment.TickCount64);

    // A seccomp profile may forbid adjtimex. Then the clock counts as synchronised.
    static unsafe bool AskSynchronized()
    {
        var timex = stackalloc byte[TimexBytes];
        new Span<byte>(timex, TimexBytes).Clear();
        return adjtimex(timex) != TimeError;
    }

    static string ReadBootId()
    {
        try
        {
            return File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Without a boot id every start of the process counts as a new boot.
            return Guid.NewGuid().ToString();
        }
    }

    // nint on both sides: the C library's clock_gettime has a 32-bit time_t on linux-arm.
    [StructLayout(LayoutKind.Sequential)]
    struct TimeSpec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }

#pragma warning disable IDE1006 // The functions have the C library's names.
    [LibraryImport("libc")]
    private static partial int clock_gettime(int clock, out TimeSpec time);

    [LibraryImport("libc")]
    private static unsafe partial int adjtimex(byte* timex);
#pragma warning restore IDE1006
}
