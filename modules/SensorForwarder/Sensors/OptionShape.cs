using System.Diagnostics;
using System.Globalization;

namespace SensorForwarder.Sensors;

/// <summary>Which values an option of a sensor takes.</summary>
internal abstract record OptionShape
{
    OptionShape()
    {
    }

    /// <summary>true or false.</summary>
    public sealed record Flag : OptionShape;

    public sealed record WholeNumber(int Min, int Max) : OptionShape;

    public sealed record Number(double Min, double Max) : OptionShape;

    public sealed record Text(int MaxLength) : OptionShape;

    /// <summary>A name, or a number in its place.</summary>
    public sealed record NameOrNumber(int Min, int Max, int MaxLength) : OptionShape;

    public sealed record Choice(IReadOnlyList<string> Names) : OptionShape;

    /// <summary>A list of texts, none of them empty.</summary>
    public sealed record Texts(int MaxCount) : OptionShape;

    /// <summary>A list of different whole numbers.</summary>
    public sealed record WholeNumbers(int Min, int Max) : OptionShape;

    /// <summary>One number for every value of the sensor, or a map of the value's name to a number.</summary>
    public sealed record NumberByValue(double Min, double Max) : OptionShape;

    /// <summary>An address on an I2C bus: a number, or a text such as <c>"0x76"</c>, which JSON
    /// has no number for.</summary>
    public sealed record Address(IReadOnlyList<int> Addresses) : OptionShape;

    /// <summary>What is allowed, for people.</summary>
    public string Allowed => this switch
    {
        Flag => "true or false",
        WholeNumber(var min, var max) => $"an integer from {min} to {max}",
        Number(var min, var max) => $"a number from {Show(min)} to {Show(max)}",
        Text(var length) => $"a text of 1 to {length} characters",
        NameOrNumber(var min, var max, var length) =>
            $"a text of 1 to {length} characters, or an integer from {min} to {max}",
        Choice(var names) => $"one of {string.Join(", ", names.Select(name => $"\"{name}\""))}",
        Texts(var count) => $"a list of 1 to {count} texts",
        WholeNumbers(var min, var max) => $"a list of different integers from {min} to {max}",
        NumberByValue(var min, var max) => $"a number from {Show(min)} to {Show(max)}, or a map of value to number",
        Address(var allowed) => $"one of {string.Join(", ", allowed.Select(address => $"\"0x{address:x2}\""))}",
        _ => throw new UnreachableException(),
    };

    static string Show(double number) => number.ToString(CultureInfo.InvariantCulture);
}
