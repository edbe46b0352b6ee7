using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;

namespace SensorForwarder.Configuration;

/// <summary>The effective tuning of the module: valid by construction, immutable.</summary>
internal sealed record Settings
{
    public ForwardingSettings Forwarding { get; init; } = new();

    public BufferLimits Buffer { get; init; } = new();

    /// <summary>Interval of sensors that name none, 10 ms to a day.</summary>
    public TimeSpan PollInterval { get; init; } = TimeSpan.FromSeconds(5);

    public IReadOnlyDictionary<string, SensorSettings> Sensors { get; init; } =
        new Dictionary<string, SensorSettings>();

    /// <summary>How often the status is reported, 10 s to a day.</summary>
    public TimeSpan StatusInterval { get; init; } = TimeSpan.FromSeconds(300);

    /// <summary>How long a change may keep the module from forwarding before it is rolled back, up to a day; zero:
    /// for ever.</summary>
    public TimeSpan Trial { get; init; }

    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>What holds where no document says otherwise.</summary>
    public static Settings Defaults(BootOptions boot)
    {
        var settings = new Settings
        {
            Forwarding = new()
            {
                Sink = boot.Identity is null ? SinkKind.Http : SinkKind.IotHub,
                HttpEndpoint = boot.HttpEndpoint,
            },
            LogLevel = boot.LogLevel,
        };
        return settings with
        {
            Sensors = new Dictionary<string, SensorSettings>
            {
                ["host"] = new("host", "host", settings.PollInterval, SensorsParser.DefaultEntry),
            },
        };
    }
}
