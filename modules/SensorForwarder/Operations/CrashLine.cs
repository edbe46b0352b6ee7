using Microsoft.Extensions.Logging;

namespace SensorForwarder.Operations;

/// <summary>Writes the last log line when an unhandled exception ends the process: what happened, and what is lost. The
/// process exits at once; edgeAgent restarts it, and it continues with the committed readings.</summary>
internal static class CrashLine
{
    const int MaxLength = 2000;

    public static void Install(TimeProvider timeProvider) => AppDomain.CurrentDomain.UnhandledException += (_, crash) =>
    {
        Console.Out.WriteLine(Write(crash.ExceptionObject, timeProvider.GetUtcNow()));
        Console.Out.Flush();
#pragma warning disable RS0030 // An orderly stop is no longer possible.
        Environment.Exit(ExitCode.Crash);
#pragma warning restore RS0030
    };

    /// <summary>The line; line breaks in the exception become blanks.</summary>
    public static string Write(object fault, DateTimeOffset now)
    {
        var text = string.Join(
            ' ', (fault.ToString() ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        if (text.Length > MaxLength) text = text[..MaxLength];
        return LogLineFormatter.Line(
            LogLevel.Critical, now, "SensorForwarder ends because of an unhandled exception. "
            + $"Committed readings are safe; those of the last commit interval are lost. Please report this: {text}");
    }
}
