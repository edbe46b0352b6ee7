using System.Runtime.InteropServices;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>What is asked of an input.</summary>
/// <param name="Flags">Of enum gpio_v2_line_flag.</param>
/// <param name="Debounce">How long the line must be stable before the kernel accepts a change; zero for no
/// debouncing.</param>
internal sealed record GpioRequest(ulong Flags, TimeSpan Debounce)
{
    public const ulong ActiveLow = 1 << 1, Input = 1 << 2, Rising = 1 << 4, Falling = 1 << 5;
    public const ulong PullUp = 1 << 8, PullDown = 1 << 9, NoBias = 1 << 10;

    public bool HasEdges => (Flags & (Rising | Falling)) != 0;
}

/// <summary>
/// An input requested by this process. Its file delivers an event for each edge; the kernel keeps the newest 1024
/// unread ones.
/// </summary>
/// <param name="events">The file of the request.</param>
/// <param name="isActive">Reads the level, after debouncing; throws a <see cref="SensorFault"/> when the chip is
/// gone.</param>
/// <param name="what">Chip and line, for messages.</param>
internal sealed class GpioLine(SafeHandle events, Func<bool> isActive, string what) : IDisposable
{
    public SafeHandle Events => events;

    public override string ToString() => what;

    public bool IsActive() => isActive();

    public void Dispose() => events.Dispose();
}

/// <summary>An edge as the kernel saw it: struct gpio_v2_line_event.</summary>
[StructLayout(LayoutKind.Explicit, Size = 48)]
internal struct GpioEdge
{
    const uint RisingEdge = 1;

    /// <summary>By the monotonic clock.</summary>
    [FieldOffset(0)]
    public ulong TimestampNanoseconds;

    [FieldOffset(8)]
    public uint Id;

    /// <summary>Numbers the edges of the line from 1, including those that were lost because they were not read in
    /// time.</summary>
    [FieldOffset(20)]
    public uint LineSequence;

    /// <summary>The line became active.</summary>
    public readonly bool IsRising => Id == RisingEdge;
}
