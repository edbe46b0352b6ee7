using System.Device.I2c;
using System.Device.Spi;
using SensorForwarder.Net;

namespace SensorForwarder.Sensors;

/// <summary>Where devices are looked for; boot values, so that tests can lay a tree of their own.</summary>
/// <param name="Proc">Normally <c>/proc</c>.</param>
/// <param name="Sysfs">Normally <c>/sys</c>.</param>
/// <param name="DataDirectory">The volume whose free space the host sensor tells.</param>
internal sealed record SensorRoots(string Proc, string Sysfs, string DataDirectory)
{
    public string Dev { get; init; } = "/dev";

    /// <summary>Directories whose files <c>file</c> sensors may read; absolute, without <c>..</c> or a slash at the
    /// end.
    /// </summary>
    public IReadOnlyList<string> Files { get; init; } =
        [.. new[] { "/sys", Sysfs, "/proc", Proc, "/run/sensors", "/data/files" }.Distinct()];
}

/// <summary>What sensors are made of.</summary>
internal sealed record SensorWorld(SensorRoots Roots, TimeProvider TimeProvider)
{
    /// <summary>Opens a chip by bus and address.</summary>
    public Func<int, int, I2cDevice> OpenI2c { get; init; } = static (bus, address) =>
        I2cDevice.Create(new(bus, address));

    public Func<SpiConnectionSettings, SpiDevice> OpenSpi { get; init; } = SpiDevice.Create;

    /// <summary>The conversions of 1-wire thermometers in progress.</summary>
    public OneWireConversions OneWire { get; } = new();

    /// <summary>Opens connections over TCP.</summary>
    public Dialer Dialer { get; init; } = new(TimeProvider);

    /// <summary>What sensors of one bus share.</summary>
    public SharedByBus Shared { get; } = new();

    /// <summary>What counters have counted.</summary>
    public PulseTotals Totals { get; init; } = new(null);

    /// <summary>The wall clock's time of a moment that the kernel tells by its monotonic clock.</summary>
    public DateTimeOffset TimeOf(ulong monotonicNanoseconds)
    {
        var timestamp = (long)(
            (UInt128)monotonicNanoseconds * (UInt128)TimeProvider.TimestampFrequency / 1_000_000_000);
        return TimeProvider.GetUtcNow() - TimeProvider.GetElapsedTime(timestamp);
    }
}
