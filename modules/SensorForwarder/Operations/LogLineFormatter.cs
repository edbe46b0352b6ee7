using System.Globalization;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace SensorForwarder.Operations;

/// <summary>
/// Formats log lines as IoT Edge's log tools parse them: <c>&lt;6&gt;2026-11-24 14:20:31.123 +00:00 text</c>, with the
/// severities of syslog. An event is always one line: text from outside can neither start a line nor control a
/// terminal. .NET's systemd formatter, which looks the same, replaces only line feeds. Thread-safe.
/// </summary>
internal sealed class LogLineFormatter(TimeProvider timeProvider) : ConsoleFormatter(FormatterName)
{
    public const string FormatterName = "edge";

    const int MaxLength = 4000;

    public override void Write<TState>(
        in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var text = $"{logEntry.Category}[{logEntry.EventId.Id}] {logEntry.Formatter(
            logEntry.State, logEntry.Exception)}";
        if (logEntry.Exception is { } exception) text = $"{text} {exception}";
        textWriter.Write(Line(logEntry.LogLevel, timeProvider.GetUtcNow(), text));
        textWriter.Write('\n');
    }

    /// <summary>A whole line, without the line feed.</summary>
    public static string Line(LogLevel level, DateTimeOffset time, string text) =>
        string.Create(CultureInfo.InvariantCulture, $"<{Severity(level)}>{time:yyyy-MM-dd HH:mm:ss.fff} +00:00 "
            + $"{Flatten(text)}");

    /// <summary>The text with a blank for each character that is not printable, shortened if it is too long.</summary>
    static string Flatten(string text) => string.Create(
        Math.Min(text.Length, MaxLength), text, static (target, source) =>
        {
            for (var i = 0; i < target.Length; i++)
                target[i] = IsPrintable(source[i]) ? source[i] : ' ';
        });

    static bool IsPrintable(char c) =>
        char.GetUnicodeCategory(c) is not (UnicodeCategory.Control or UnicodeCategory.Format
        or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.PrivateUse);

    static int Severity(LogLevel level) => level switch
    {
        LogLevel.Critical => 2,
        LogLevel.Error => 3,
        LogLevel.Warning => 4,
        LogLevel.Information => 6,
        _ => 7,
    };
}
