using System.Globalization;

namespace SensorForwarder;

/// <summary>Makes text from outside fit for a log line: one line, printable, bounded.</summary>
internal static class LogText
{
    public const int MaxLength = 200;

    /// <summary>The same without what stands between <c>//</c> and <c>@</c>, and behind <c>?</c>, in a URL: a password, or a key.</summary>
    public static string WithoutSecrets(string url)
    {
        if (url.IndexOf('?', StringComparison.Ordinal) is var query and >= 0) url = $"{url[..query]}?..";
        var start = url.IndexOf("//", StringComparison.Ordinal) + 2;
        var end = url.LastIndexOf('@');
        return start >= 2 && end > start ? $"{url[..start]}..{url[end..]}" : url;
    }

    /// <summary>A moment, to the second, in UTC.</summary>
    public static string Show(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    public static string Clean(string text) => Clean(text, Math.Min(text.Length, MaxLength));

    /// <summary>A text of several sentences: what is too long ends with a whole word, and says that there is more.</summary>
    public static string CleanSentences(string text, int maxLength)
    {
        const string More = " ..";
        if (text.Length <= maxLength) return Clean(text, text.Length);
        var clean = Clean(text, maxLength - More.Length + 1);
        var end = clean.LastIndexOf(' ');

        // One word without an end is cut where it has to be.
        return (end > maxLength / 2 ? clean[..end] : clean[..^1]).TrimEnd() + More;
    }

    static string Clean(string text, int length) => string.Create(length, text, static (target, source) =>
    {
        for (var i = 0; i < target.Length; i++)
            target[i] = char.IsControl(source[i]) || char.IsSurrogate(source[i]) || Reorders(source[i]) ? ' ' : source[i];
    });

    /// <summary>Whether it lets what follows look as if it stood elsewhere, or on another line.</summary>
    static bool Reorders(char c) => c is '\u061C' or '\u200E' or '\u200F' or (>= '\u2028' and <= '\u202E') or (>= '\u2066' and <= '\u2069');
}
