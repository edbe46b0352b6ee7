using System.Text.RegularExpressions;

namespace SensorForwarder.Tests.Support;

/// <summary>
/// A line as IoT Edge's log tools take it: the expression of its LogMessageParser.cs without the part for Docker's own time, and with
/// everything required that is optional there. What does not match is read there as a line of its own of level info.
/// </summary>
internal static partial class LogLine
{
    [GeneratedRegex(@"^<[2-7]>\d{4}-\d{2}-\d{2}\s\d{2}:\d{2}:\d{2}\.\d{3}\s[+-]\d{2}:\d{2}\s.+\z")]
    public static partial Regex Expression { get; }

    /// <summary>Fails with the lines that are none, as lines of a text in several lines would be, and with those that move a terminal's cursor.</summary>
    public static void Check(IEnumerable<string> lines)
    {
        var wrong = lines.Where(line => !Expression.IsMatch(line) || line.Any(c => char.IsControl(c) || c is '\u2028' or '\u2029' or '\u202e')).ToList();
        if (wrong.Count > 0) Assert.Fail($"{wrong.Count} lines are no log lines:\n{string.Join('\n', wrong.Take(20))}");
    }
}
