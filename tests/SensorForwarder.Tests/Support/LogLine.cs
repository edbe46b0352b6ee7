using System.Text.RegularExpressions;

namespace SensorForwarder.Tests.Support;

/// <summary>
/// The log format of IoT Edge's log tools: the regular expression of LogMessageParser.cs without Docker's timestamp and
/// with all optional parts required. The tools treat a line that does not match as a separate message of level info.
/// </summary>
internal static partial class LogLine
{
    [GeneratedRegex(@"^<[2-7]>\d{4}-\d{2}-\d{2}\s\d{2}:\d{2}:\d{2}\.\d{3}\s[+-]\d{2}:\d{2}\s.+\z")]
    public static partial Regex Expression { get; }

    /// <summary>Asserts that every line matches (a message of several lines would not) and has no control
    /// characters.</summary>
    public static void Check(IEnumerable<string> lines)
    {
        var wrong = lines.Where(line => !Expression.IsMatch(line) || line.Any(c => char.IsControl(c) || c is '\u2028' or '\u2029' or '\u202e')).ToList();
        if (wrong.Count > 0) Assert.Fail($"{wrong.Count} invalid log lines:\n{string.Join('\n', wrong.Take(20))}");
    }
}
