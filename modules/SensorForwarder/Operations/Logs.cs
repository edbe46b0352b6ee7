using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations;

/// <summary>
/// Log lines as IoT Edge's log tools parse them: <c>&lt;6&gt;2026-11-24 14:20:31.123 +00:00 text</c>, one line each.
/// </summary>
internal static class Logs
{
    public static ILoggerFactory CreateFactory(LogLevelSwitch level, RecentEvents events) => LoggerFactory.Create(logging => logging
        .SetMinimumLevel(LogLevel.Trace)
        .AddFilter((category, logLevel) => level.IsEnabled(logLevel) && !IsFrameworkNoise(category, logLevel))
        .AddSystemdConsole(console =>
        {
            console.TimestampFormat = "yyyy-MM-dd HH:mm:ss.fff zzz ";
            console.UseUtcTimestamp = true;
        })
        .AddProvider(events));

    // "Application started. Press Ctrl+C to shut down." and the like help nobody on a gateway.
    static bool IsFrameworkNoise(string? category, LogLevel level) =>
        level < LogLevel.Warning && category?.StartsWith("SensorForwarder", StringComparison.Ordinal) != true;
}
