using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;

namespace SensorForwarder.Configuration;

/// <summary>The effective settings. Always valid, immutable.</summary>
internal sealed record Settings
{
    public ForwardingSettings Forwarding { get; init; } = new();

    public BufferLimits Buffer { get; init; } = new();

    /// <summary>Interval of sensors without their own, 10 ms to a day.</summary>
    public TimeSpan PollInterval { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>The window of sensors without their own, up to a day; zero: each reading is stored.</summary>
    public TimeSpan AggregateWindow { get; init; }

    public IReadOnlyDictionary<string, SensorSettings> Sensors { get; init; } =
        new Dictionary<string, SensorSettings>();

    /// <summary>How often the status is reported, 10 s to a day.</summary>
    public TimeSpan StatusInterval { get; init; } = TimeSpan.FromSeconds(300);

    /// <summary>A change after which nothing can be forwarded for this long is rolled back. Up to a day; zero: never.
    /// </summary>
    public TimeSpan Trial { get; init; }

    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>The values of keys that no document has; <see cref="SettingsParser"/> adds the sensors.</summary>
    public static Settings Defaults(BootOptions boot) => new()
    {
        Forwarding = new()
        {
            Sink = boot.Identity is null ? SinkKind.Http : SinkKind.IotHub,
            HttpEndpoint = boot.HttpEndpoint,
        },
        LogLevel = boot.LogLevel,
    };
}
