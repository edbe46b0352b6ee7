using System.Device.I2c;
using System.Device.Spi;
using SensorForwarder.Net;

namespace SensorForwarder.Sensors;

/// <summary>The directories in which devices are found. They are boot values, so that tests can use their own trees.
/// </summary>
/// <param name="Proc">Normally <c>/proc</c>.</param>
/// <param name="Sysfs">Normally <c>/sys</c>.</param>
/// <param name="DataDirectory">The volume whose free space the host sensor reports.</param>
internal sealed record SensorRoots(string Proc, string Sysfs, string DataDirectory)
{
    public string Dev { get; init; } = "/dev";

    /// <summary>Directories whose files <c>file</c> sensors may read; absolute, without <c>..</c> or a slash at the
    /// end.</summary>
    public IReadOnlyList<string> Files { get; init; } =
        [.. new[] { "/sys", Sysfs, "/proc", Proc, "/run/sensors", "/data/files" }.Distinct()];
}

/// <summary>The surroundings of sensors: directories, clock, and access to buses.</summary>
internal sealed record SensorWorld(SensorRoots Roots, TimeProvider TimeProvider)
{
    /// <summary>Opens a chip by bus and address.</summary>
    public Func<int, int, I2cDevice> OpenI2c { get; init; } = static (bus, address) =>
        I2cDevice.Create(new(bus, address));

    public Func<SpiConnectionSettings, SpiDevice> OpenSpi { get; init; } = SpiDevice.Create;

    /// <summary>The conversions of 1-wire thermometers in progress.</summary>
    public OneWireConversions OneWire { get; } = new();

    public Dialer Dialer { get; init; } = new(TimeProvider);

    public SharedByBus Shared { get; } = new();

    public PulseTotals Totals { get; init; } = new(null);

    public RaisedAlarms Alarms { get; init; } = new(null);

    /// <summary>Takes a GPIO line as an output, active or inactive.</summary>
    public Func<AlarmOutput, bool, OutputLine> OpenOutput { get; init; } = static (_, _) =>
        throw new SensorFault(FaultReason.Absent, "there are no GPIO lines");

    /// <summary>Converts a timestamp of the kernel's monotonic clock to wall-clock time.</summary>
    public DateTimeOffset TimeOf(ulong monotonicNanoseconds)
    {
        var timestamp = (long)(
            (UInt128)monotonicNanoseconds * (UInt128)TimeProvider.TimestampFrequency / 1_000_000_000);
        return TimeProvider.GetUtcNow() - TimeProvider.GetElapsedTime(timestamp);
    }
}
