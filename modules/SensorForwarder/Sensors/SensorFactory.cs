using System.Device.I2c;
using System.Device.Spi;

namespace SensorForwarder.Sensors;

/// <summary>Makes sensors from settings, as <see cref="SensorKinds"/> says.</summary>
internal sealed class SensorFactory(SensorRoots roots, TimeProvider timeProvider)
{
    public SensorWorld World { get; init; } = new(roots, timeProvider);

    /// <exception cref="SensorSettingsException">The settings can't work.</exception>
    public ISensor Create(SensorSettings settings) => SensorKinds.Find(settings.Kind).Make(settings, World);
}

/// <summary>Where devices are looked for; boot values, so that tests can lay a tree of their own.</summary>
/// <param name="Proc">Normally <c>/proc</c>.</param>
/// <param name="Sysfs">Normally <c>/sys</c>.</param>
/// <param name="DataDirectory">The volume whose free space the host sensor tells.</param>
internal sealed record SensorRoots(string Proc, string Sysfs, string DataDirectory)
{
    public string Dev { get; init; } = "/dev";
}

/// <summary>What sensors are made of.</summary>
internal sealed record SensorWorld(SensorRoots Roots, TimeProvider TimeProvider)
{
    /// <summary>Opens a chip by bus and address.</summary>
    public Func<int, int, I2cDevice> OpenI2c { get; init; } = static (bus, address) => I2cDevice.Create(new(bus, address));

    public Func<SpiConnectionSettings, SpiDevice> OpenSpi { get; init; } = SpiDevice.Create;
}
