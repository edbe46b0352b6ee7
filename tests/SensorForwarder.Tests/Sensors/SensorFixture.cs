using SensorForwarder.Sensors;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Sensors;

/// <summary>Temporary /proc, /sys and /dev trees, simulated buses and fake clocks for tests of sensors.</summary>
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

    public ObservedClock Clock { get; } = new SinceBoot();

    public SensorRoots Roots => new(Proc, Sysfs, Root) { Dev = Path.Combine(Root, "dev"), Files = FileRoots };

    /// <summary>The directories that <c>file</c> sensors may read.</summary>
    public IReadOnlyList<string> FileRoots { get; set; }

    /// <summary>I2C bus 1.</summary>
    public SimulatedI2cBus Bus { get; } = new();

    /// <summary>The response to a transfer on SPI bus 0.</summary>
    public Func<byte[], byte[]> Spi { get; set; } = bytes => bytes;

    /// <summary>A clock on which every wait ends at once.</summary>
    public WaitingClock Waits { get; } = new();

    /// <summary>The surroundings of a sensor, with the simulated buses and this clock.</summary>
    public SensorWorld WorldOn(TimeProvider clock) =>
        new(Roots, clock) { OpenI2c = (_, address) => Bus.CreateDevice(address), OpenSpi = _ => new SimulatedSpiDevice(Spi) };

    public static SensorSettings Settings(string kind, string options = "", string name = "attic") =>
        new(name, Module.SensorKinds.Find(kind), TimeSpan.FromSeconds(1), options.Length > 0 ? $"{{\"kind\":\"{kind}\",{options}}}" : $"{{\"kind\":\"{kind}\"}}");

    public SensorSession Session(SensorSettings settings, BusBreaker? breaker = null) =>
        new(settings, WorldOn(Waits), breaker, 0.5, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);

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

    public SensorWorld World => new(Roots, Clock);

    /// <exception cref="SensorSettingsException">The settings are invalid.</exception>
    public ISensor Create(SensorSettings settings) => settings.Kind.Make(settings, World);

    public void Write(string path, string content)
    {
        var file = Path.Combine(Root, path);
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, content);
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);

    /// <summary>A fake clock whose timestamps start at 0, as the kernel's do at boot, instead of counting from the year
    /// 1.</summary>
    sealed class SinceBoot : ObservedClock
    {
        readonly long _start;

        public SinceBoot()
            : base(BufferFixture.Noon) => _start = base.GetTimestamp();

        public override long GetTimestamp() => base.GetTimestamp() - _start;
    }
}
