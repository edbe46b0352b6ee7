using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations;

/// <summary>Creates the loggers: repeated lines are collapsed, then written to standard output and the page.</summary>
internal static class Logs
{
    public static ILoggerFactory CreateFactory(LogLevelSwitch level, RecentEvents events, TimeProvider timeProvider) =>
        new RepeatedLines(LoggerFactory.Create(logging => logging
        .SetMinimumLevel(LogLevel.Trace)
        .AddFilter((category, logLevel) => level.IsEnabled(logLevel) && !IsFrameworkNoise(category, logLevel))
        .AddConsole(console =>
        {
            console.FormatterName = LogLineFormatter.FormatterName;
            // If nobody reads standard output, lines are dropped; sensing must not wait for it.
            console.QueueFullMode = ConsoleLoggerQueueFullMode.DropWrite;
        })
        .AddProvider(events)
        .Services.AddSingleton<ConsoleFormatter>(new LogLineFormatter(timeProvider))), timeProvider);

    // Lines such as "Press Ctrl+C to shut down" are useless on a gateway. What the host logs as an error it also throws
    // or logs as critical; only a stop during start-up is neither, and is not an error.
    static bool IsFrameworkNoise(string? category, LogLevel level) =>
        category?.StartsWith("SensorForwarder", StringComparison.Ordinal) != true
        && (level < LogLevel.Warning
            || (level == LogLevel.Error && category == "Microsoft.Extensions.Hosting.Internal.Host"));
}
