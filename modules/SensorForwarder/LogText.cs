namespace SensorForwarder;

/// <summary>Makes text from outside fit for a log line: one line, printable, bounded.</summary>
internal static class LogText
{
    public const int MaxLength = 200;

    public static string Clean(string text)
    {
        var length = Math.Min(text.Length, MaxLength);
        return string.Create(length, text, static (target, source) =>
        {
            for (var i = 0; i < target.Length; i++)
                target[i] = char.IsControl(source[i]) || char.IsSurrogate(source[i]) ? ' ' : source[i];
        });
    }
}
