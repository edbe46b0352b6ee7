using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text.Json;

namespace SensorForwarder.Text;

/// <summary>Makes external text safe for a log line: one line, printable, bounded, without secrets.
/// Stateless.</summary>
internal static class LogText
{
    public const int MaxLength = 200;

    // A longer word may be a key or a token and is not shown.
    const int MaxWordLength = 12;
    const int MaxQuotedLength = 32;
    const int MaxJsonLength = 60;

    /// <summary>The value in quotes if it consists of short words. A value that may contain a password or a key, such
    /// as a URL, a connection string or a header, is described by its length.</summary>
    public static string Quote(string text) => IsWord(text) ? $"'{text}'" : Describe(text);

    /// <summary>The same for a JSON value, with JSON's quotes. Short lists and objects of numbers and words are shown.
    /// </summary>
    public static string Quote(JsonElement value) => value.ValueKind switch
    {
        _ when value.GetRawText() is var raw && raw.Length <= MaxJsonLength && IsOfWords(value) => Clean(raw),
        JsonValueKind.String => Describe(value.GetString()!),
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        _ => $"a number of {value.GetRawText().Length} characters",
    };

    /// <summary>A key or a name, if it consists of short words; otherwise its length.</summary>
    public static string Name(string text) =>
        text.Length > 0 && (IsWord(text) || (text.Length <= MaxQuotedLength && text.All(char.IsAsciiLetter)))
            ? text
            : Describe(text);

    /// <summary>A time in UTC, to the second.</summary>
    public static string Show(DateTimeOffset time) =>
        time.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    /// <summary>The text on one line, without control characters, at most <see cref="MaxLength"/> characters.</summary>
    [return: NotNullIfNotNull(nameof(text))]
    public static string? Clean(string? text) => text is null ? null : Clean(text, Math.Min(text.Length, MaxLength));

    /// <summary>As <see cref="Clean(string)"/>, cut after a whole word and with dots at the end if it is too long.
    /// </summary>
    public static string CleanSentences(string text, int maxLength)
    {
        const string More = " ..";
        if (text.Length <= maxLength) return Clean(text, text.Length);
        var clean = Clean(text, maxLength - More.Length + 1);
        var end = clean.LastIndexOf(' ');

        // A very long word is cut anywhere.
        return (end > maxLength / 2 ? clean[..end] : clean[..^1]).TrimEnd() + More;
    }

    static string Describe(string text) => $"a text of {text.Length} characters";

    static bool IsWord(string text) => text.Length <= MaxQuotedLength
        && text.Split([' ', '.', '_', '-', '+']).All(
            static part => part.Length <= MaxWordLength && part.All(char.IsLetterOrDigit));

    static bool IsOfWords(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => IsWord(value.GetString()!),
        JsonValueKind.Array => value.EnumerateArray().All(IsOfWords),
        JsonValueKind.Object =>
            value.EnumerateObject().All(property => IsWord(property.Name) && IsOfWords(property.Value)),
        _ => true,
    };

    static string Clean(string text, int length) => string.Create(length, text, static (target, source) =>
    {
        for (var i = 0; i < target.Length; i++)
            target[i] = char.IsControl(source[i]) || char.IsSurrogate(source[i]) || Reorders(source[i])
                ? ' '
                : source[i];
    });

    /// <summary>Whether a character changes the direction of text or starts a new line (Unicode bidi controls and
    /// separators).</summary>
    static bool Reorders(char c) =>
        c is '\u061C' or '\u200E' or '\u200F' or (>= '\u2028' and <= '\u202E') or (>= '\u2066' and <= '\u2069');
}
