using System.Globalization;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace SensorForwarder.Operations;

/// <summary>
/// Log lines as IoT Edge's log tools parse them: <c>&lt;6&gt;2026-11-24 14:20:31.123 +00:00 text</c>, severities as in
/// syslog. One event is one line, whatever its text holds: nobody outside can begin a line of their own, or move a
/// terminal's cursor. .NET's systemd formatter, which looks the same, lets everything but line feeds through.
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

    /// <summary>A whole line, without its end.</summary>
    public static string Line(LogLevel level, DateTimeOffset time, string text) =>
        string.Create(CultureInfo.InvariantCulture, $"<{Severity(level)}>{time:yyyy-MM-dd HH:mm:ss.fff} +00:00 "
            + $"{Flatten(text)}");

    /// <summary>The text in one line: what is no printable character is a blank.</summary>
    static string Flatten(string text)
    {
        var length = Math.Min(text.Length, MaxLength);
        return string.Create(length, text, static (target, source) =>
        {
            for (var i = 0; i < target.Length; i++)
                target[i] = IsPrintable(source[i]) ? source[i] : ' ';
        });
    }

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
