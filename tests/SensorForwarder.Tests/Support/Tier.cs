using System.Globalization;

namespace SensorForwarder.Tests.Support;

/// <summary>The size of a test run. <c>TEST_TIER</c> is <c>quick</c> (the default, <c>dotnet test</c>: seconds),
/// <c>full</c> (<c>tests/run</c>: minutes) or <c>deep</c> (<c>tests/run --deep</c>: the sizes that
/// <c>modules/SensorForwarder/Buffer/README.md</c> publishes).</summary>
internal static class Tier
{
    static readonly string Name = Environment.GetEnvironmentVariable("TEST_TIER") ?? "quick";

    public static bool IsQuick => Choose(true, false, false);

    /// <summary>Seed of a sweep. <c>TEST_SEED</c> repeats the run that printed it.</summary>
    public static int? Seed => Environment.GetEnvironmentVariable("TEST_SEED") is { } text ? Parse(text) : null;

    /// <summary>The size of one sweep.</summary>
    /// <param name="variable">The environment variable that overrides it.</param>
    public static int Size(string variable, int quick, int full, int deep) =>
        Environment.GetEnvironmentVariable(variable) is { } text ? Parse(text) : Choose(quick, full, deep);

    static T Choose<T>(T quick, T full, T deep) => Name switch
    {
        "quick" => quick,
        "full" => full,
        "deep" => deep,
        _ => throw new InvalidOperationException($"TEST_TIER is '{Name}'; allowed is quick, full or deep."),
    };

    static int Parse(string text) => int.Parse(text, CultureInfo.InvariantCulture);
}
