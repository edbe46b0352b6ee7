using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace SensorForwarder.Sensors;

/// <summary>One option of a sensor: everything that parser, documentation and JSON Schema know about it.</summary>
/// <param name="Name">Its key in the sensor's entry.</param>
/// <param name="Shape">Which values it takes.</param>
/// <param name="Text">What it does.</param>
internal abstract record SensorOption(string Name, OptionShape Shape, string Text)
{
    const int MaxTextLength = 256;

    /// <summary>The entry must have it.</summary>
    public bool IsRequired { get; init; }

    /// <summary>Where the default comes from, if it is no constant.</summary>
    public string? DefaultSource { get; init; }

    /// <summary>The default as it would stand in an entry; null: there is none.</summary>
    public JsonNode? Default { get; init; }

    /// <exception cref="SensorSettingsException">The value is not allowed.</exception>
    public abstract void Check(JsonElement value);

    public static SensorOption<bool> Flag(string name, bool standard, string text) => new(
        name, new OptionShape.Flag(), text, standard,
        static (value, out result) =>
        {
            result = value.ValueKind == JsonValueKind.True;
            return result || value.ValueKind == JsonValueKind.False;
        })
    {
        Default = standard,
    };

    public static SensorOption<int> Integer(string name, int min, int max, int standard, string text) => new(
        name, new OptionShape.WholeNumber(min, max), text, standard,
        (value, out result) => TryInteger(value, min, max, out result))
    {
        Default = standard,
    };

    /// <summary>An integer without a constant default.</summary>
    public static SensorOption<int?> Integer(string name, int min, int max, string text) => new(
        name, new OptionShape.WholeNumber(min, max), text, null,
        (value, out result) => (result = TryInteger(value, min, max, out var number) ? number : null) is not null);

    public static SensorOption<double> Number(string name, double min, double max, double standard, string text) => new(
        name, new OptionShape.Number(min, max), text, standard,
        (value, out result) => TryNumber(value, min, max, out result))
    {
        Default = standard,
    };

    /// <summary>A number without a constant default.</summary>
    public static SensorOption<double?> Number(string name, double min, double max, string text) => new(
        name, new OptionShape.Number(min, max), text, null,
        (value, out result) => (result = TryNumber(value, min, max, out var number) ? number : null) is not null);

    public static SensorOption<string?> TextOf(string name, string text, int maxLength = MaxTextLength) => new(
        name, new OptionShape.Text(maxLength), text, null,
        (value, out result) =>
        {
            result = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            return result?.Length > 0 && result.Length <= maxLength && !result.Any(char.IsControl);
        });

    /// <summary>A name, or a number in its place.</summary>
    public static SensorOption<string?> NameOrNumber(string name, int min, int max, int maxLength, string text) => new(
        name, new OptionShape.NameOrNumber(min, max, maxLength), text, null,
        (value, out result) =>
        {
            result = value.ValueKind == JsonValueKind.String ? value.GetString()
                : TryInteger(value, min, max, out var number) ? number.ToString(CultureInfo.InvariantCulture) : null;
            return result?.Length > 0 && result.Length <= maxLength && !result.Any(char.IsControl);
        });

    public static SensorOption<string> Choice(string name, string[] names, string standard, string text) => new(
        name, new OptionShape.Choice(names), text, standard,
        (value, out result) =>
        {
            result = value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
            return names.Contains(result);
        })
    {
        Default = standard,
    };

    public static SensorOption<IReadOnlyList<string>?> Texts(string name, int maxCount, string text) => new(
        name, new OptionShape.Texts(maxCount), text, null,
        (value, out result) =>
        {
            result = null;
            if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() is var count
                && (count == 0 || count > maxCount))
                return false;
            if (value.EnumerateArray().Any(
                item => item.ValueKind != JsonValueKind.String || item.GetString() is "")) return false;
            result = [.. value.EnumerateArray().Select(item => item.GetString()!)];
            return true;
        });

    public static SensorOption<IReadOnlyList<int>> Integers(
        string name, int min, int max, int[] standard, string text) => new(
        name, new OptionShape.WholeNumbers(min, max), text, standard,
        (value, out result) =>
        {
            result = standard;
            if (value.ValueKind != JsonValueKind.Array) return false;
            var numbers = new List<int>();
            foreach (var item in value.EnumerateArray())
            {
                if (!TryInteger(item, min, max, out var number) || numbers.Contains(number)) return false;
                numbers.Add(number);
            }

            result = numbers;
            return numbers.Count > 0;
        })
        {
            Default = new JsonArray([.. standard.Select(number => (JsonNode)number)]),
        };

    public static SensorOption<NumberByValue?> ByValue(string name, double min, double max, string text) => new(
        name, new OptionShape.NumberByValue(min, max), text, null,
        (value, out result) => NumberByValue.TryRead(value, min, max, out result));

    /// <summary>An I2C address; the first of those allowed is the default.</summary>
    public static SensorOption<int> Address(params int[] allowed) => new(
        "address", new OptionShape.Address(allowed), "Address on the bus.", allowed[0],
        (value, out result) =>
        {
            if (value.ValueKind == JsonValueKind.String)
            {
                var text = value.GetString()!;
                return int.TryParse(
                    text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? text.AsSpan(2) : "?",
                    NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out result)
                        && allowed.Contains(result);
            }

            return TryInteger(value, 0, 0x7F, out result) && allowed.Contains(result);
        })
    {
        Default = $"0x{allowed[0]:x2}",
    };

    /// <summary>A value as it was given, for messages.</summary>
    public static string Show(JsonElement value) => LogText.Quote(value);

    // 50.0 is what some tools make of 50.
    static bool TryInteger(JsonElement value, int min, int max, out int result)
    {
        var isOne = TryNumber(value, min, max, out var number) && number == Math.Floor(number);
        result = isOne ? (int)number : 0;
        return isOne;
    }

    public static bool TryNumber(JsonElement value, double min, double max, out double result)
    {
        result = 0;
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out result) && result >= min
            && result <= max;
    }
}

/// <summary>An option and how its value is read.</summary>
/// <param name="Standard">The value when the entry has none.</param>
/// <param name="TryRead">Takes the value out of JSON, if it is allowed.</param>
internal sealed record SensorOption<T>(
    string Name, OptionShape Shape, string Text, T Standard, SensorOption<T>.Reader TryRead) : SensorOption(Name, Shape,
    Text)
{
    public delegate bool Reader(JsonElement value, out T result);

    /// <summary>The value in an entry, or the default when it has none, or null.</summary>
    /// <exception cref="SensorSettingsException">It is there and not allowed.</exception>
    public T Read(JsonElement entry)
    {
        if (!entry.TryGetProperty(Name, out var value) || value.ValueKind == JsonValueKind.Null) return Standard;
        if (TryRead(value, out var result)) return result;
        var isQuoted = value.ValueKind == JsonValueKind.String
            && Shape is OptionShape.Number or OptionShape.WholeNumber;
        throw new SensorSettingsException(isQuoted
            ? $"{Name}: {Show(value)} is text; allowed is {Shape.Allowed}, without quotes"
            : $"{Name}: {Show(value)} is not allowed; allowed is {Shape.Allowed}");
    }

    public override void Check(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Null) return;
        using var entry = JsonDocument.Parse($"{{\"{Name}\":{value.GetRawText()}}}");
        Read(entry.RootElement);
    }
}
