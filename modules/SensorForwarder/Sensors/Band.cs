using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors;

/// <summary>How far a value may move before it counts as changed: a distance, or percent of the value that was stored
/// last. Immutable.</summary>
/// <param name="Size">The distance in the unit of the value, or the percentage.</param>
/// <param name="IsPercent">Whether it is a percentage.</param>
internal readonly record struct Band(double Size, bool IsPercent)
{
    /// <summary>A percentage as a regular expression, for the JSON Schema.</summary>
    public const string PercentPattern = @"^([0-9]{1,2}(\.[0-9]{1,6})?|100)%$";

    /// <summary>The longest text of a percentage.</summary>
    public const int MaxLength = 10;

    /// <summary>Whether a value left the band round the stored one. Percent of 0 are 0: every change of a stored 0
    /// counts.</summary>
    public bool IsLeft(double stored, double value) =>
        Math.Abs(value - stored) > (IsPercent ? Math.Abs(stored) * (Size / 100) : Size);

    public JsonNode ToJson() => IsPercent ? string.Create(CultureInfo.InvariantCulture, $"{Size}%") : Size;

    public static bool TryRead(JsonElement value, out Band result)
    {
        result = default;
        if (Option.TryNumber(value, 0, CommonOptions.Huge, out var size))
        {
            result = new(size, false);
            return true;
        }

        if (value.ValueKind != JsonValueKind.String || value.GetString() is not { Length: <= MaxLength } text
            || !IsPercentage(text)) return false;
        result = new(double.Parse(text[..^1], CultureInfo.InvariantCulture), true);
        return true;
    }

    // The same as the pattern.
    static bool IsPercentage(string text)
    {
        if (!text.EndsWith('%')) return false;
        var digits = text[..^1].Split('.');
        return digits is ["100"]
            || (digits.Length <= 2 && digits.All(part => part.Length > 0 && part.All(char.IsAsciiDigit))
                && digits[0].Length <= 2 && (digits.Length == 1 || digits[1].Length <= 6));
    }
}
