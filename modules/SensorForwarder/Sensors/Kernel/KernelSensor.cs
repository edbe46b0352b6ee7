using SensorForwarder.Options;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors.Kernel;

/// <summary>A value that a device of the kernel offers, and how it is read.</summary>
/// <param name="Name">Its name in readings.</param>
/// <param name="Channel">What the kernel calls it, such as <c>temp1</c>.</param>
/// <param name="Unit">The unit that is published; empty: not known.</param>
/// <param name="Read">Reads it, in that unit.</param>
internal sealed record KernelChannel(string Name, string Channel, string Unit, Func<double> Read);

/// <summary>
/// Kinds <c>iio</c>, <c>hwmon</c> and <c>thermal</c>: the channels of a device with a kernel driver, found by name and
/// parent, and searched again when its number has changed.
/// </summary>
internal sealed class KernelSensor(
    KernelClass devices, string device, string? parent, IReadOnlyList<string>? channels,
    Func<KernelDevice, IEnumerable<KernelChannel>> enumerate) : ISensor
{
    // 25080 * 0.001 is 25.080000000000002.
    const int Decimals = 6;

    public static readonly Option<string?> Device = Option.TextOf(
        "device", "The name that its driver gives it: the content of its file `name`, such as `bme280`.", 64)
        with
    { IsRequired = true };

    public static readonly Option<string?> Parent = Option.TextOf(
        "parent", "The chip that it belongs to, such as `1-0076` (I2C bus 1, address 0x76); required if several have "
            + "the same name.", 64);

    public static readonly Option<IReadOnlyList<string>?> Channels = Option.Texts(
        "channels", 64, "The channels to read, by their kernel names, such as `temp1` or `voltage0`; all if left "
            + "out.");

    KernelDevice? _device;
    // Whether two turns in a row found the same channels. While a driver is bound, the kernel adds them one by one.
    bool _isComplete;
    List<KernelChannel> _channels = [];
    List<KeyValuePair<string, string>> _units = [];

    /// <summary>A kind whose sensors are devices of a class of the kernel, found by name and parent.</summary>
    public static SensorKind MakeKind(
        string name, string text, Func<SensorRoots, KernelClass> find,
            Func<KernelDevice, IEnumerable<KernelChannel>> enumerate) => new(
        name, text, [Device, Parent, Channels],
        (settings, world) => new KernelSensor(
            find(world.Roots), settings.Get(Device)!, settings.Get(Parent), settings.Get(Channels), enumerate))
            {
                Connection = "kernel",
            };

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        if (_device is null || !_isComplete || !devices.IsStill(_device)) Open();
        var values = new List<KeyValuePair<string, double>>(_channels.Count);
        SensorFault? fault = null;
        foreach (var channel in _channels)
        {
            try
            {
                values.Add(new(channel.Name, Math.Round(channel.Read(), Decimals)));
            }
            catch (SensorFault exception)
            {
                fault = exception;
            }
        }

        if (fault is null) return ValueTask.FromResult(new Measurement(values) { Units = _units });
        _device = null; // search for it again
        if (values.Count == 0) throw fault;
        return ValueTask.FromResult(
            new Measurement(values, ReadingQuality.Uncertain, FaultReason.Partial, fault.Message) { Units = _units });
    }

    public void Dispose()
    {
    }

    void Open()
    {
        var last = _device;
        _device = null;
        var found = devices.Find(device, parent);
        var all = enumerate(found).ToList();
        var missing = channels?.FirstOrDefault(wanted => all.TrueForAll(channel => channel.Channel != wanted));
        if (missing is not null || all.Count == 0)
        {
            throw new SensorFault(FaultReason.Absent, $"{found} has no channel {missing}; it has "
                + (all.Count > 0 ? string.Join(", ", all.Select(channel => channel.Channel)) : "none"));
        }

        if (channels is not null)
            all = [.. channels.Select(wanted => all.First(channel => channel.Channel == wanted))];
        _isComplete = found == last
            && all.Select(channel => channel.Channel).SequenceEqual(_channels.Select(channel => channel.Channel));
        _channels = all;
        _units = [.. _channels.Select(channel => KeyValuePair.Create(channel.Name, channel.Unit))];
        _device = found;
    }
}
