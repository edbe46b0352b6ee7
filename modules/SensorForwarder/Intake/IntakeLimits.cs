using System.Security.Cryptography;
using System.Text;

namespace SensorForwarder.Intake;

/// <summary>Limits of one request, for all entries. Stateless.</summary>
internal static class IntakeLimits
{
    /// <summary>The largest request, decompressed.</summary>
    public const int MaxRequestBytes = 4 << 20;

    /// <summary>The largest item, if it is the only one of a request.</summary>
    public const int MaxPayloadBytes = 256 << 10;

    /// <summary>The largest of several items.</summary>
    public const int MaxItemBytes = 64 << 10;

    /// <summary>The most items of a request.</summary>
    public const int MaxItems = 10_000;

    /// <summary>The most characters of a sensor's name.</summary>
    public const int MaxNameLength = 256;

    // Digits of the hash that makes a shortened name unique.
    const int HashLength = 16;

    /// <summary>Shortens a name to <see cref="MaxNameLength"/> characters. A shortened name ends with a hash of the
    /// whole name.</summary>
    public static string Shorten(string name)
    {
        if (name.Length <= MaxNameLength) return name;
        var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(name)))[..HashLength];
        var start = name[..(MaxNameLength - HashLength - 1)];
        if (char.IsHighSurrogate(start[^1])) start = start[..^1];
        return $"{start}~{hash}";
    }

    /// <summary>Whether a text can be the name of a sensor.</summary>
    public static bool IsName(string text) => text.Length is > 0 and <= MaxNameLength && !text.Any(char.IsControl);

    /// <summary>What is wrong with the number or size of items; null: nothing.</summary>
    /// <param name="largest">The largest item in words, such as <c>line 3</c>.</param>
    public static IntakeAnswer? Check(int items, int largestBytes, string largest)
    {
        if (items > MaxItems)
            return IntakeAnswer.TooLarge($"more than {MaxItems} items; send them in several requests");
        var limit = items == 1 ? MaxPayloadBytes : MaxItemBytes;
        return largestBytes <= limit
            ? null
            : IntakeAnswer.TooLarge($"{largest} has {largestBytes} bytes; the limit is {limit}"
                + (items == 1 ? "" : $", or {MaxPayloadBytes} for the only item of a request"));
    }
}
