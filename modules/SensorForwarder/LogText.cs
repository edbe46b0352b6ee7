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
