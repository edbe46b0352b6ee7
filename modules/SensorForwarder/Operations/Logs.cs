using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations;

/// <summary>Where log lines go: to standard output, and to the page; what repeats is summed up before.</summary>
internal static class Logs
{
    public static ILoggerFactory CreateFactory(LogLevelSwitch level, RecentEvents events, TimeProvider timeProvider) =>
        new RepeatedLines(LoggerFactory.Create(logging => logging
        .SetMinimumLevel(LogLevel.Trace)
        .AddFilter((category, logLevel) => level.IsEnabled(logLevel) && !IsFrameworkNoise(category, logLevel))
        .AddConsole(console => console.FormatterName = LogLineFormatter.FormatterName)
        .AddProvider(events)
        .Services.AddSingleton<ConsoleFormatter>(new LogLineFormatter(timeProvider))), timeProvider);

    // "Application started. Press Ctrl+C to shut down." and the like help nobody on a gateway. What the host calls an
    // error it throws as well, or tells once more as critical; a stop while it starts is none.
    static bool IsFrameworkNoise(string? category, LogLevel level) =>
        category?.StartsWith("SensorForwarder", StringComparison.Ordinal) != true
        && (level < LogLevel.Warning
            || (level == LogLevel.Error && category == "Microsoft.Extensions.Hosting.Internal.Host"));
}
