using System.Globalization;
using System.Text.Json;

namespace SensorForwarder;

/// <summary>Makes text from outside fit for a log line: one line, printable, bounded.</summary>
internal static class LogText
{
    public const int MaxLength = 200;

    // Keys and tokens are longer than any word that a value may be.
    const int MaxWordLength = 12;
    const int MaxQuotedLength = 32;
    const int MaxJsonLength = 60;

    /// <summary>A value as it was given, in quotes, if it is a word. A value that may hold a password or a key, as
    /// URLs, connection strings and headers do, is only described.</summary>
    public static string Quote(string text) => IsWord(text) ? $"'{text}'" : Describe(text);

    /// <summary>The same for a value of a JSON document, with JSON's quotes; numbers and words in
    /// lists and objects stay.</summary>
    public static string Quote(JsonElement value) => value.ValueKind switch
    {
        _ when value.GetRawText() is var raw && raw.Length <= MaxJsonLength && IsOfWords(value) => Clean(raw),
        JsonValueKind.String => Describe(value.GetString()!),
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        _ => $"a number of {value.GetRawText().Length} characters",
    };

    /// <summary>A key or a name as it was given, if it is a word.</summary>
    public static string Name(string text) =>
        text.Length > 0 && (IsWord(text) || (text.Length <= MaxQuotedLength && text.All(char.IsAsciiLetter)))
            ? text
            : Describe(text);

    /// <summary>A moment, to the second, in UTC.</summary>
    public static string Show(DateTimeOffset time) =>
        time.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    public static string Clean(string text) => Clean(text, Math.Min(text.Length, MaxLength));

    /// <summary>A text of several sentences: what is too long ends with a whole word, and says
    /// that there is more.</summary>
    public static string CleanSentences(string text, int maxLength)
    {
        const string More = " ..";
        if (text.Length <= maxLength) return Clean(text, text.Length);
        var clean = Clean(text, maxLength - More.Length + 1);
        var end = clean.LastIndexOf(' ');

        // One word without an end is cut where it has to be.
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

    /// <summary>Whether it lets what follows look as if it stood elsewhere, or on another line.</summary>
    static bool Reorders(char c) =>
        c is '\u061C' or '\u200E' or '\u200F' or (>= '\u2028' and <= '\u202E') or (>= '\u2066' and <= '\u2069');
}
