using System.Diagnostics;
using System.Globalization;

namespace SensorForwarder.Options;

/// <summary>The type and range of an option's values. Immutable.</summary>
internal abstract record OptionShape
{
    OptionShape()
    {
    }

    /// <summary>true or false.</summary>
    public sealed record Flag : OptionShape;

    public sealed record WholeNumber(long Min, long Max) : OptionShape;

    public sealed record Number(double Min, double Max) : OptionShape;

    public sealed record Text(int MaxLength) : OptionShape;

    /// <summary>A point in time.</summary>
    public sealed record Moment : OptionShape;

    /// <summary>A name or a number.</summary>
    public sealed record NameOrNumber(int Min, int Max, int MaxLength) : OptionShape;

    public sealed record Choice(IReadOnlyList<string> Names) : OptionShape;

    public sealed record HttpUrl : OptionShape;

    /// <summary>A list of non-empty texts.</summary>
    public sealed record Texts(int MaxCount) : OptionShape;

    /// <summary>A list of different whole numbers.</summary>
    public sealed record WholeNumbers(int Min, int Max) : OptionShape;

    /// <summary>One number for all values of a sensor, or a map from value names to numbers.</summary>
    public sealed record NumberByValue(double Min, double Max) : OptionShape;

    /// <summary>One distance or percentage for all values of a sensor, or a map from value names to those.</summary>
    /// <param name="Max">The largest distance.</param>
    /// <param name="PercentPattern">A percentage as a regular expression.</param>
    public sealed record BandByValue(double Max, string PercentPattern) : OptionShape;

    /// <summary>One list of points for all values of a sensor, or a map from value names to lists.</summary>
    /// <param name="MaxPoints">The most points; there are at least two.</param>
    /// <param name="Max">The largest number in a point, of either sign.</param>
    public sealed record CurveByValue(int MaxPoints, double Max) : OptionShape;

    /// <summary>A map of the name of a value of a sensor to a text.</summary>
    public sealed record TextByValue(int MaxLength) : OptionShape;

    /// <summary>A map of names to texts.</summary>
    /// <param name="MaxCount">The most names.</param>
    /// <param name="NamePattern">A name as a regular expression.</param>
    /// <param name="MaxLength">The longest text.</param>
    public sealed record Tags(int MaxCount, string NamePattern, int MaxLength) : OptionShape;

    /// <summary>An address on an I2C bus: a number, or a text such as <c>"0x76"</c>, since JSON has no hexadecimal
    /// numbers.</summary>
    public sealed record Address(IReadOnlyList<int> Addresses) : OptionShape;

    /// <summary>A whole number, or a hexadecimal text such as <c>"0x9c41"</c>.</summary>
    public sealed record HexNumber(int Min, int Max) : OptionShape;

    /// <summary>A text in a special format, in a document.</summary>
    /// <param name="Description">What is allowed, in words.</param>
    /// <param name="Pattern">The same as a regular expression.</param>
    public sealed record TextForm(string Description, string Pattern) : OptionShape;

    /// <summary>A map of names to objects with these options.</summary>
    public sealed record Entries(IReadOnlyList<Option> Options, int MaxCount, int MaxNameLength) : OptionShape;

    /// <summary>An object with these options.</summary>
    public sealed record Fields(IReadOnlyList<Option> Options) : OptionShape;

    /// <summary>A list of objects with these options.</summary>
    public sealed record Objects(IReadOnlyList<Option> Options, int MaxCount) : OptionShape;

    /// <summary>A text in a special format; for environment variables only.</summary>
    /// <param name="Description">What is allowed, in words.</param>
    public sealed record Form(string Description) : OptionShape;

    /// <summary>What is allowed, in words.</summary>
    public string Allowed => this switch
    {
        Flag => "true or false",
        WholeNumber(var min, var max) => $"an integer from {min} to {max}",
        Number(var min, var max) => $"a number from {Show(min)} to {Show(max)}",
        Moment => "a time such as 2026-11-24T14:00:00Z",
        Text(var length) => $"a text of 1 to {length} characters",
        NameOrNumber(var min, var max, var length) =>
            $"a text of 1 to {length} characters, or an integer from {min} to {max}",
        Choice(var names) => $"one of {string.Join(", ", names.Select(name => $"\"{name}\""))}",
        HttpUrl => "an absolute http or https URL without user and password",
        Texts(var count) => $"a list of 1 to {count} texts",
        WholeNumbers(var min, var max) => $"a list of different integers from {min} to {max}",
        NumberByValue(var min, var max) => $"a number from {Show(min)} to {Show(max)}, or a map of value to number",
        BandByValue(var max, _) => $"a number from 0 to {Show(max)}, a percentage from \"0%\" to \"100%\", or a map of "
            + "value to one of these",
        CurveByValue(var points, _) =>
            $"a list of 2 to {points} points [raw, value] with different raw values, or a map of value to such a list",
        TextByValue(var length) => $"a map of value to text of 1 to {length} characters",
        Tags(var count, _, var length) => $"a map of up to {count} names to texts of 1 to {length} characters",
        Address(var allowed) => $"one of {string.Join(", ", allowed.Select(address => $"\"0x{address:x2}\""))}",
        HexNumber(var min, var max) =>
            $"an integer from {min} to {max}, or a hexadecimal text such as \"0x{max:x}\"",
        TextForm(var description, _) => description,
        Entries(var options, var count, _) =>
            $"a map of 1 to {count} names to objects with {string.Join(", ", options.Select(option => option.Name))}",
        Fields(var options) => $"an object with {string.Join(", ", options.Select(option => option.Name))}",
        Objects(var options, var count) =>
            $"a list of up to {count} objects with {string.Join(", ", options.Select(option => option.Name))}",
        Form(var description) => description,
        _ => throw new UnreachableException(),
    };

    static string Show(double number) => number.ToString(CultureInfo.InvariantCulture);
}
