using Microsoft.Extensions.Logging;

namespace SensorForwarder.Operations;

/// <summary>The last line of a process that ends because of a fault of the program: what happened, and what it costs.
/// It ends at once, so that edgeAgent starts it again, and everything that is committed goes
/// on from the medium.</summary>
internal static class CrashLine
{
    const int MaxLength = 2000;

    /// <param name="timeProvider">The time in the line.</param>
    public static void Install(TimeProvider timeProvider) => AppDomain.CurrentDomain.UnhandledException += (_, crash) =>
    {
        Console.Out.WriteLine(Write(crash.ExceptionObject, timeProvider.GetUtcNow()));
        Console.Out.Flush();
#pragma warning disable RS0030 // Nothing can be stopped in order any more.
        Environment.Exit(ExitCode.Crash);
#pragma warning restore RS0030
    };

    /// <summary>One line, whatever the exception says.</summary>
    public static string Write(object fault, DateTimeOffset now)
    {
        var text = string.Join(
            ' ', (fault.ToString() ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        if (text.Length > MaxLength) text = text[..MaxLength];
        return LogLineFormatter.Line(
            LogLevel.Critical, now, "SensorForwarder ends because of a fault of its own. "
            + $"No committed reading is lost; those of the last commit interval are. Please report this: {text}");
    }
}
