using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace SensorForwarder.Configuration;

/// <summary>A value is not allowed for a setting; the message says what it was and what is allowed.</summary>
internal sealed class SettingException(string message) : Exception(message);

/// <summary>Which values a setting takes.</summary>
internal abstract record SettingShape
{
    SettingShape()
    {
    }

    public sealed record WholeNumber(int Min, int Max) : SettingShape;

    public sealed record Number(double Min, double Max) : SettingShape;

    public sealed record Choice(IReadOnlyList<string> Names) : SettingShape;

    public sealed record HttpUrl : SettingShape;

    public sealed record Flag : SettingShape;
}

/// <summary>One setting: everything that the parser, the acknowledgements, README, the JSON Schema and the Plug and
/// Play model know about it.</summary>
/// <param name="Key">Its name at the root of the document.</param>
/// <param name="Shape">Which values it takes.</param>
/// <param name="Text">What it does.</param>
/// <param name="Set">Takes a value over. Throws <see cref="SettingException"/>.</param>
/// <param name="Get">The value in force, as it would stand in a document.</param>
internal sealed record SettingDefinition(
    string Key,
    SettingShape Shape,
    string Text,
    Func<Settings, JsonElement, Settings> Set,
    Func<Settings, JsonNode?> Get)
{
    /// <summary>Longest URL that is taken.</summary>
    public const int MaxUrlLength = 2048;

    // The names of the units in DTDL.
    static readonly (string Suffix, string Unit)[] Units =
    [
        ("Ms", "millisecond"), ("Seconds", "second"), ("Minutes", "minute"), ("Hours", "hour"),
        ("Bytes", "byte"), ("Megabytes", "mebibyte"),
    ];

    /// <summary>Where the default comes from, if it is no constant.</summary>
    public string? DefaultSource { get; init; }

    /// <summary>The value in force as people and the hub see it, without secrets; null:
    /// as <see cref="Get"/> has it.</summary>
    public Func<Settings, JsonNode?>? Shown { get; init; }

    /// <summary>The unit of its number, which its key ends with; null: it counts something, or is no number.</summary>
    public string? Unit => Units.FirstOrDefault(unit => Key.EndsWith(unit.Suffix, StringComparison.Ordinal)).Unit;

    /// <summary>What is allowed, for people.</summary>
    public string Allowed => Shape switch
    {
        SettingShape.WholeNumber(var min, var max) => $"{min}..{max}",
        SettingShape.Number(var min, var max) => string.Create(CultureInfo.InvariantCulture, $"{min}..{max}"),
        SettingShape.Choice(var names) => string.Join(", ", names.Select(name => $"`{name}`")),
        SettingShape.HttpUrl => "absolute http or https URL without user and password",
        SettingShape.Flag => "`true`, `false`",
        _ => throw new System.Diagnostics.UnreachableException(),
    };

    public static SettingDefinition Integer(
        string key, int min, int max, string text, Func<Settings, int> get, Func<Settings, int, Settings> set)
    {
        return new(key, new SettingShape.WholeNumber(min, max), text, Set, s => get(s));

        Settings Set(Settings settings, JsonElement value)
        {
            var number = ReadNumber(value, min, max, $"an integer from {min} to {max}");
            // 50.0 is what some tools make of 50.
            return number == Math.Floor(number)
                ? set(settings, (int)number)
                : throw new SettingException(
                    $"{Show(value)} is not an integer; allowed is an integer from {min} to {max}");
        }
    }

    public static SettingDefinition Seconds(
        string key, double min, double max, string text, Func<Settings, TimeSpan> get,
        Func<Settings, TimeSpan, Settings> set) =>
        Time(key, min, max, TimeSpan.FromSeconds(1), text, get, set);

    public static SettingDefinition Minutes(
        string key, double min, double max, string text, Func<Settings, TimeSpan> get,
        Func<Settings, TimeSpan, Settings> set) =>
        Time(key, min, max, TimeSpan.FromMinutes(1), text, get, set);

    public static SettingDefinition Choice<T>(
        string key, string text, (string Name, T Value)[] choices, Func<Settings, T> get,
        Func<Settings, T, Settings> set)
        where T : struct, Enum
    {
        var names = choices.Select(choice => choice.Name).ToArray();
        return new(key, new SettingShape.Choice(names), text, Set, s => choices.First(c => c.Value.Equals(get(s)))
            .Name);

        Settings Set(Settings settings, JsonElement value)
        {
            var given = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            foreach (var (name, choice) in choices)
            {
                if (given == name) return set(settings, choice);
            }

            var hint = given is not null ? NearestName.Find(given, names).Hint : "";
            throw new SettingException($"{Show(value)} is not allowed; allowed is {string.Join(
                ", ", names.Select(name => $"'{name}'"))}{hint}");
        }
    }

    public static SettingDefinition Url(
        string key, string text, Func<Settings, Uri?> get, Func<Settings, Uri, Settings> set)
    {
        var definition = new SettingDefinition(key, new SettingShape.HttpUrl(), text, null!, s => get(s)?.ToString());
        return definition with
        {
            Shown = s => get(s) is { } url ? UrlText.Show(url) : null,
            Set = (settings, value) =>
            {
                var text = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
                if (text is not null && TryReadEndpoint(text, out var url)) return set(settings, url);
                var shown = text switch
                {
                    null => Show(value),
                    { Length: > MaxUrlLength } => $"a URL of more than {MaxUrlLength} characters",
                    _ => UrlText.Rejected(text),
                };
                throw new SettingException($"{shown} is not allowed; allowed is an {definition.Allowed}");
            },
        };
    }

    public static SettingDefinition Flag(
        string key, string text, Func<Settings, bool> get, Func<Settings, bool, Settings> set)
    {
        return new(key, new SettingShape.Flag(), text, Set, s => get(s));

        Settings Set(Settings settings, JsonElement value) => value.ValueKind switch
        {
            JsonValueKind.True or JsonValueKind.False => set(settings, value.GetBoolean()),
            JsonValueKind.String =>
                throw new SettingException($"{Show(value)} is text; allowed is true or false, without quotes"),
            _ => throw new SettingException($"{Show(value)} is not allowed; allowed is true or false"),
        };
    }

    public static bool TryReadEndpoint(string text, [NotNullWhen(true)] out Uri? endpoint) =>
        Uri.TryCreate(text, UriKind.Absolute, out endpoint)
        && endpoint.Scheme is "http" or "https" && endpoint.UserInfo.Length == 0 && endpoint.Host.Length > 0
            && text.Length <= MaxUrlLength;

    /// <summary>A number within bounds, or a <see cref="SettingException"/> that tells them.</summary>
    public static double ReadNumber(JsonElement value, double min, double max, string allowed)
    {
        if (value.ValueKind == JsonValueKind.String)
            throw new SettingException($"{Show(value)} is text; allowed is {allowed}, without quotes");
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetDouble(out var number)
            || !double.IsFinite(number) || number < min || number > max)
        {
            throw new SettingException($"{Show(value)} is not allowed; allowed is {allowed}");
        }

        return number;
    }

    /// <summary>A value as it was given, for messages.</summary>
    public static string Show(JsonElement value) => LogText.Quote(value);

    static SettingDefinition Time(
        string key, double min, double max, TimeSpan unit, string text, Func<Settings, TimeSpan> get,
        Func<Settings, TimeSpan, Settings> set)
    {
        var allowed = string.Create(CultureInfo.InvariantCulture, $"a number from {min} to {max}");
        return new(
            key, new SettingShape.Number(min, max), text,
            (s, v) => set(s, unit * ReadNumber(v, min, max, allowed)), s => get(s) / unit);
    }
}
