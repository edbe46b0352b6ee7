using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Text;

namespace SensorForwarder.Options;

/// <summary>A named value that people configure: a setting, a sensor option or a boot value. Parsing, error messages,
/// acknowledgements, the tables of the documentation, the JSON Schema and the Plug and Play model are generated from
/// it. Immutable.</summary>
/// <param name="Name">The key in the document, or the environment variable.</param>
/// <param name="Shape">The type and range of its values.</param>
/// <param name="Text">What the option does.</param>
internal abstract record Option(string Name, OptionShape Shape, string Text)
{
    /// <summary>The longest URL that is allowed.</summary>
    public const int MaxUrlLength = 2048;

    const int MaxTextLength = 256;
    const string PathForm = "a path on one line, and no URL";

    // Suffixes of names, and the units in DTDL.
    static readonly (string Suffix, string Unit)[] Units =
    [
        ("Ms", "millisecond"), ("Seconds", "second"), ("Minutes", "minute"), ("Hours", "hour"),
        ("Bytes", "byte"), ("Megabytes", "mebibyte"),
    ];

    /// <summary>Whether the document must contain the option.</summary>
    public bool IsRequired { get; init; }

    /// <summary>Where the default comes from, if it is not a constant.</summary>
    public string? DefaultSource { get; init; }

    /// <summary>The default in the form of the document; null: none, or not a constant.</summary>
    public abstract JsonNode? Default { get; }

    /// <summary>What a message shows of a refused text; null: see <see cref="LogText.Quote(string)"/>.</summary>
    public Func<string, string>? Refused { get; init; }

    /// <summary>The unit, by the suffix of the name; null: none.</summary>
    public string? Unit => Units.FirstOrDefault(unit => Name.EndsWith(unit.Suffix, StringComparison.Ordinal)).Unit;

    /// <summary>Why a value is refused: the value and what is allowed; null: it is allowed. JSON's null means the
    /// default.</summary>
    public abstract string? Objection(JsonElement value);

    public static Option<bool> Flag(string name, bool standard, string text) => new(
        name, new OptionShape.Flag(), text, standard, TryFlag, static flag => flag);

    public static Option<int> Integer(string name, int min, int max, int standard, string text) => new(
        name, new OptionShape.WholeNumber(min, max), text, standard,
        (value, out result) => TryInteger(value, min, max, out result), static number => number);

    public static Option<long> Long(string name, long min, long max, long standard, string text) => new(
        name, new OptionShape.WholeNumber(min, max), text, standard,
        (value, out result) => TryWhole(value, min, max, out result), static number => number);

    /// <summary>An integer without a default, or with one that is not a constant.</summary>
    public static Option<int?> Integer(string name, int min, int max, string text) =>
        WithoutDefault(Integer(name, min, max, 0, text));

    public static Option<double> Number(string name, double min, double max, double standard, string text) => new(
        name, new OptionShape.Number(min, max), text, standard,
        (value, out result) => TryNumber(value, min, max, out result), static number => number);

    /// <summary>A number without a default, or with one that is not a constant.</summary>
    public static Option<double?> Number(string name, double min, double max, string text) =>
        WithoutDefault(Number(name, min, max, 0, text));

    /// <summary>A time span, as a number in the given unit.</summary>
    public static Option<TimeSpan> Time(
        string name, double min, double max, TimeSpan unit, TimeSpan standard, string text) => new(
        name, new OptionShape.Number(min, max), text, standard,
        (value, out result) =>
        {
            var isNumber = TryNumber(value, min, max, out var number);
            result = isNumber ? unit * number : default;
            return isNumber;
        },
        time => time / unit);

    /// <summary>A point in time; in UTC if it names no time zone.</summary>
    public static Option<DateTimeOffset?> Moment(string name, string text) => new(
        name, new OptionShape.Moment(), text, null,
        (value, out result) =>
        {
            var given = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            var isTime = DateTimeOffset.TryParse(
                given, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time);
            result = isTime ? time : null;
            return isTime;
        },
        static time => time?.UtcDateTime);

    public static Option<string?> TextOf(string name, string text, int maxLength = MaxTextLength) => new(
        name, new OptionShape.Text(maxLength), text, null,
        (value, out result) =>
        {
            result = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            return IsText(result, maxLength);
        },
        static value => value);

    /// <summary>A text in a special format.</summary>
    /// <param name="name">The key.</param>
    /// <param name="form">What is allowed, in words.</param>
    /// <param name="pattern">The same as a regular expression, for the JSON Schema.</param>
    /// <param name="isAllowed">The same, for the parser.</param>
    /// <param name="text">What the option does.</param>
    public static Option<string?> TextOf(
        string name, string form, string pattern, Func<string, bool> isAllowed, string text) => new(
        name, new OptionShape.TextForm(form, pattern), text, null,
        (value, out result) =>
        {
            result = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            return IsText(result, MaxTextLength) && isAllowed(result!);
        },
        static value => value);

    /// <summary>A whole number, or a hexadecimal text.</summary>
    public static Option<int> HexNumber(string name, int min, int max, string text) => new(
        name, new OptionShape.HexNumber(min, max), text, min,
        (value, out result) =>
            value.ValueKind == JsonValueKind.String
                ? TryHex(value.GetString()!, out result) && result >= min && result <= max
                : TryInteger(value, min, max, out result),
        static number => number);

    /// <summary>A name or a number, as text.</summary>
    public static Option<string?> NameOrNumber(string name, int min, int max, int maxLength, string text) => new(
        name, new OptionShape.NameOrNumber(min, max, maxLength), text, null,
        (value, out result) =>
        {
            result = value.ValueKind == JsonValueKind.String ? value.GetString()
                : TryInteger(value, min, max, out var number) ? number.ToString(CultureInfo.InvariantCulture) : null;
            return IsText(result, maxLength);
        },
        static value => value);

    public static Option<string> Choice(string name, string[] names, string standard, string text) =>
        Choice(name, [.. names.Select(choice => (choice, choice))], standard, text);

    public static Option<T> Choice<T>(string name, (string Name, T Value)[] choices, T standard, string text)
        where T : notnull => new(
        name, new OptionShape.Choice([.. choices.Select(choice => choice.Name)]), text, standard,
        (value, out result) =>
        {
            var given = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            var at = Array.FindIndex(choices, choice => choice.Name == given);
            result = at < 0 ? standard : choices[at].Value;
            return at >= 0;
        },
        value => choices.First(choice => choice.Value.Equals(value)).Name);

    /// <summary>An http or https URL. Messages show it without its secrets.</summary>
    public static Option<Uri?> Url(string name, string text) => new(
        name, new OptionShape.HttpUrl(), text, null,
        (value, out result) =>
        {
            result = null;
            return value.ValueKind == JsonValueKind.String && TryUrl(value.GetString()!, out result);
        },
        static url => url?.ToString())
    {
        Refused = static text => text.Length > MaxUrlLength
            ? $"a URL of more than {MaxUrlLength} characters"
            : UrlText.Rejected(text),
        Shown = static url => url is null ? null : UrlText.Show(url),
    };

    public static Option<IReadOnlyList<string>?> Texts(string name, int maxCount, string text) => new(
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
        },
        static texts => texts is null ? null : new JsonArray([.. texts.Select(item => (JsonNode)item)]));

    public static Option<IReadOnlyList<int>> Integers(
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
        },
        static numbers => new JsonArray([.. numbers.Select(number => (JsonNode)number)]));

    /// <summary>An I2C address; the first allowed one is the default.</summary>
    public static Option<int> Address(params int[] allowed) => new(
        "address", new OptionShape.Address(allowed), "Address on the bus.", allowed[0],
        (value, out result) =>
        {
            if (value.ValueKind == JsonValueKind.String)
                return TryHex(value.GetString()!, out result) && allowed.Contains(result);
            return TryInteger(value, 0, 0x7F, out result) && allowed.Contains(result);
        },
        static address => $"0x{address:x2}");

    /// <summary>The path of a file or directory.</summary>
    public static Option<string?> Path(string name, string text) =>
        Form<string?>(name, PathForm, null, ReadPath, text).Secret();

    public static Option<string> Path(string name, string standard, string text) =>
        Form<string>(name, PathForm, standard, ReadPath, text).Secret();

    /// <summary>A list in an environment variable. Messages name the number of a refused item but do not show it.
    /// </summary>
    /// <param name="name">The environment variable.</param>
    /// <param name="items">What items are allowed, in words.</param>
    /// <param name="separators">The separator characters.</param>
    /// <param name="parse">Parses one item; null: refused.</param>
    /// <param name="text">What the option does.</param>
    public static Option<IReadOnlyList<T>> List<T>(
        string name, string items, string separators, Func<string, T?> parse, string text)
        where T : class
    {
        return Form<IReadOnlyList<T>>(name, $"a list of {items}", [], Read, text) with
        {
            Refused = given => $"entry {1 + Array.FindIndex(Split(given), item => parse(item) is null)}",
        };

        List<T>? Read(string given)
        {
            var read = Split(given).Select(parse).OfType<T>().ToList();
            return read.Count == Split(given).Length ? read : null;
        }

        string[] Split(string given) => given.Split(
            separators.ToCharArray(), StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
    }

    /// <summary>A text in a special format, in an environment variable.</summary>
    /// <param name="name">The environment variable.</param>
    /// <param name="form">What is allowed, in words.</param>
    /// <param name="standard">The default.</param>
    /// <param name="parse">Parses the text; null: refused.</param>
    /// <param name="text">What the option does.</param>
    public static Option<T> Form<T>(string name, string form, T standard, Func<string, T?> parse, string text)
        where T : class? => new(
        name, new OptionShape.Form(form), text, standard,
        (value, out result) => (result = parse(value.GetString()!)!) is not null, static value => value as string);

    /// <summary>Finds everything that is wrong with an object: unknown properties, values that are not allowed, and
    /// missing required options.</summary>
    /// <param name="options">The options that the object can have.</param>
    /// <param name="entry">An object.</param>
    /// <param name="owner">What has these options, for the message.</param>
    /// <param name="other">The name of a property that is checked elsewhere.</param>
    public static List<string> FindFaults(
        IEnumerable<Option> options, JsonElement entry, string owner, string? other = null)
    {
        var problems = new List<string>();
        var byName = options.ToDictionary(option => option.Name);
        foreach (var property in entry.EnumerateObject())
        {
            if (property.Name == other) continue;
            if (!byName.TryGetValue(property.Name, out var option)) problems.Add(Unknown(property.Name));
            else if (option.Objection(property.Value) is { } problem) problems.Add($"{option.Name}: {problem}");
        }

        foreach (var option in byName.Values.Where(option => option.IsRequired))
        {
            if (!entry.TryGetProperty(option.Name, out var value) || value.ValueKind == JsonValueKind.Null)
                problems.Add($"{option.Name} is missing; it is {option.Shape.Allowed}");
        }

        return problems;

        string Unknown(string written)
        {
            var nearest = NearestName.Find(written, byName.Keys);
            var hint = nearest.IsNear ? nearest.Hint : $"; {owner} has {string.Join(", ", byName.Keys)}";
            return $"{LogText.Name(written)}: there is no such option{hint}";
        }
    }

    public static bool TryUrl(string text, [NotNullWhen(true)] out Uri? url) =>
        Uri.TryCreate(text, UriKind.Absolute, out url) && url.Scheme is "http" or "https"
        && url.UserInfo.Length == 0 && url.Host.Length > 0 && text.Length <= MaxUrlLength;

    public static bool TryNumber(JsonElement value, double min, double max, out double result)
    {
        result = 0;
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out result) && result >= min
            && result <= max;
    }

    static Option<T?> WithoutDefault<T>(Option<T> option)
        where T : struct => new(
        option.Name, option.Shape, option.Text, null,
        (value, out result) => (result = option.Parse(value, out var read) ? read : null) is not null,
        value => value is { } given ? option.Format(given) : null);

    // A URL or the content of a file, given instead of a path, may contain a secret.
    static string? ReadPath(string text) =>
        text.Contains("://", StringComparison.Ordinal) || text.Any(char.IsControl) ? null : text;

    static bool TryInteger(JsonElement value, int min, int max, out int result)
    {
        var isOne = TryWhole(value, min, max, out var number);
        result = (int)number;
        return isOne;
    }

    // Some tools write 50 as 50.0.
    static bool TryWhole(JsonElement value, long min, long max, out long result)
    {
        var isOne = TryNumber(value, min, max, out var number) && number == Math.Floor(number);
        result = isOne ? (long)number : 0;
        return isOne;
    }

    static bool TryHex(string text, out int result) => int.TryParse(
        text.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? text.AsSpan(2) : "?",
        NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out result);

    static bool TryFlag(JsonElement value, out bool result)
    {
        result = value.ValueKind == JsonValueKind.True;
        return result || value.ValueKind == JsonValueKind.False;
    }

    /// <summary>Whether a text is not empty, not too long, and without control characters.</summary>
    public static bool IsText(string? text, int maxLength) =>
        text?.Length > 0 && text.Length <= maxLength && !text.Any(char.IsControl);
}

/// <summary>An option with the type of its value. Immutable.</summary>
/// <param name="Standard">The default.</param>
/// <param name="Parse">Reads the value from JSON; false: it is not allowed.</param>
/// <param name="Format">Converts the value to JSON, in the form of the document.</param>
internal sealed record Option<T>(
    string Name, OptionShape Shape, string Text, T Standard, Option<T>.Parser Parse, Func<T, JsonNode?> Format)
    : Option(Name, Shape, Text)
{
    public delegate bool Parser(JsonElement value, out T result);

    /// <summary>Converts the value to JSON without secrets, for log, page and hub.</summary>
    public Func<T, JsonNode?> Shown { get; init; } = Format;

    /// <summary>Explains what is wrong inside a value that is an object. Null, or if it returns null: the message is
    /// made from the shape.</summary>
    public Func<JsonElement, string?>? Fault { get; init; }

    public override JsonNode? Default => DefaultSource is null ? Format(Standard) : null;

    /// <summary>Reads a value; JSON's null and a missing property mean the default.</summary>
    /// <param name="value">The value in the document.</param>
    /// <param name="result">The value, if it is allowed.</param>
    /// <param name="problem">Otherwise the value and what is allowed.</param>
    public bool TryRead(JsonElement value, out T result, [NotNullWhen(false)] out string? problem)
    {
        problem = null;
        result = Standard;
        if (value.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined || Parse(value, out result)) return true;
        problem = Fault?.Invoke(value) ?? Refuse(value);
        return false;
    }

    /// <summary>Reads a value from an environment variable, where flags and numbers are text and choices ignore case.
    /// </summary>
    /// <param name="text">The value of the variable.</param>
    /// <param name="result">The value, if it is allowed.</param>
    /// <param name="problem">Otherwise the text, as far as it may be shown, and what is allowed.</param>
    public bool TryRead(string text, out T result, [NotNullWhen(false)] out string? problem)
    {
        using var json = JsonDocument.Parse(Shape switch
        {
            OptionShape.Flag when bool.TryParse(text, out var flag) => flag ? "true" : "false",
            OptionShape.WholeNumber or OptionShape.Number when double.TryParse(
                text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number) =>
                number.ToString("R", CultureInfo.InvariantCulture),
            OptionShape.Choice(var names) => Quote(
                names.FirstOrDefault(name => name.Equals(text, StringComparison.OrdinalIgnoreCase)) ?? text),
            _ => Quote(text),
        });
        problem = Parse(json.RootElement, out result) ? null : Refuse((Refused ?? LogText.Quote)(text), text);
        return problem is null;

        static string Quote(string text) => JsonValue.Create(text).ToJsonString();
    }

    /// <summary>The same option, with a default that is not a constant.</summary>
    /// <param name="source">Where the default comes from.</param>
    public Option<T> From(string source) => this with { DefaultSource = source };

    /// <summary>The same option, with messages that do not show a refused value: it may be a password or a key.
    /// </summary>
    public Option<T> Secret() => this with { Refused = static _ => "the value" };

    public override string? Objection(JsonElement value) => TryRead(value, out _, out var problem) ? null : problem;

    string Refuse(JsonElement value)
    {
        var text = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        return text is not null && Shape is OptionShape.Flag or OptionShape.WholeNumber or OptionShape.Number
            ? $"{LogText.Quote(value)} is text; allowed is {Shape.Allowed}, without quotes"
            : Refuse(text is not null && Refused is not null ? Refused(text) : LogText.Quote(value), text);
    }

    string Refuse(string shown, string? text)
    {
        var hint = text is not null && Shape is OptionShape.Choice(var names) ? NearestName.Find(text, names).Hint : "";
        return $"{shown} is not allowed; allowed is {Shape.Allowed}{hint}";
    }
}
