using Microsoft.Extensions.Time.Testing;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;

namespace SensorForwarder.Tests.Sensors;

/// <summary>A /proc and /sys of the test's own.</summary>
internal sealed class SensorFixture : IDisposable
{
    public SensorFixture()
    {
        FileRoots = [Root];
        Directory.CreateDirectory(Proc);
        Directory.CreateDirectory(Sysfs);
        Write("dev/i2c-1", "");
        Write("dev/spidev0.0", "");
    }

    public string Root { get; } = Directory.CreateTempSubdirectory("sensors-").FullName;

    public string Proc => Path.Combine(Root, "proc");

    public string Sysfs => Path.Combine(Root, "sys");

    public FakeTimeProvider Clock { get; } = new SinceBoot();

    public SensorRoots Roots => new(Proc, Sysfs, Root) { Dev = Path.Combine(Root, "dev"), Files = FileRoots };

    /// <summary>What <c>file</c> sensors may read.</summary>
    public IReadOnlyList<string> FileRoots { get; set; }

    /// <summary>What I2C bus 1 is.</summary>
    public SimulatedI2cBus Bus { get; } = new();

    /// <summary>What a transfer on SPI bus 0 gives.</summary>
    public Func<byte[], byte[]> Spi { get; set; } = bytes => bytes;

    /// <summary>Sensors whose waits are over at once.</summary>
    public WaitingClock Waits { get; } = new();

    /// <summary>Makes sensors on the simulated buses.</summary>
    public SensorFactory FactoryOn(TimeProvider clock) => new(Roots, clock)
    {
        World = new(Roots, clock) { OpenI2c = (_, address) => Bus.CreateDevice(address), OpenSpi = _ => new SimulatedSpiDevice(Spi) },
    };

    public static SensorSettings Settings(string kind, string options = "", string name = "attic") =>
        new(name, kind, TimeSpan.FromSeconds(1), options.Length > 0 ? $"{{\"kind\":\"{kind}\",{options}}}" : $"{{\"kind\":\"{kind}\"}}");

    public SensorSession Session(SensorSettings settings, BusBreaker? breaker = null) =>
        new(settings, FactoryOn(Waits), breaker, 0.5, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);

    public Measurement Measure(string kind, string options = "")
    {
        using var session = Session(Settings(kind, options));
        return session.Measure(CancellationToken.None);
    }

    public void Link(string path, string target)
    {
        var link = Path.Combine(Root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(link)!);
        if (Directory.Exists(link)) Directory.Delete(link);
        Directory.CreateSymbolicLink(link, target);
    }

    public SensorFactory Factory => new(Roots, Clock);

    public void Write(string path, string content)
    {
        var file = Path.Combine(Root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, content);
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);

    /// <summary>Timestamps count from the start, as the kernel's do, and not from the year 1.</summary>
    sealed class SinceBoot : FakeTimeProvider
    {
        readonly long _start;

        public SinceBoot()
            : base(BufferFixture.Noon) => _start = base.GetTimestamp();

        public override long GetTimestamp() => base.GetTimestamp() - _start;
    }
}
