using System.Runtime.InteropServices;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>What is asked of a line.</summary>
/// <param name="Flags">Of enum gpio_v2_line_flag.</param>
/// <param name="Debounce">How long the line must be stable before the kernel accepts a change; zero for no
/// debouncing.</param>
internal sealed record GpioRequest(ulong Flags, TimeSpan Debounce)
{
    public const ulong ActiveLow = 1 << 1, Input = 1 << 2, Output = 1 << 3, Rising = 1 << 4, Falling = 1 << 5;
    public const ulong PullUp = 1 << 8, PullDown = 1 << 9, NoBias = 1 << 10;

    /// <summary>Whether the line is active from the request on; for outputs.</summary>
    public bool IsActive { get; init; }

    public bool HasEdges => (Flags & (Rising | Falling)) != 0;
}

/// <summary>
/// A line requested by this process. The file of an input delivers an event for each edge; the kernel keeps the newest
/// 1024 unread ones.
/// </summary>
/// <param name="events">The file of the request.</param>
/// <param name="isActive">Reads the level, after debouncing; throws a <see cref="SensorFault"/> when the chip is
/// gone.</param>
/// <param name="what">Chip and line, for messages.</param>
/// <param name="set">Sets the level of an output; throws a <see cref="SensorFault"/> when the chip is gone. Null: an
/// input.</param>
internal sealed class GpioLine(SafeHandle events, Func<bool> isActive, string what, Action<bool>? set = null)
    : IDisposable
{
    public SafeHandle Events => events;

    public override string ToString() => what;

    public bool IsActive() => isActive();

    public void Set(bool isActive) =>
        (set ?? throw new InvalidOperationException($"{what} is an input."))(isActive);

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
