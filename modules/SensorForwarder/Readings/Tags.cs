using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Readings;

/// <summary>
/// Names and short texts with which people describe a module or a sensor, such as its site or rack. A name can be used
/// as a property of an IoT Hub message and, with <c>_</c> for <c>-</c>, as a label of a metric. Immutable; equal if the
/// names and texts are.
/// </summary>
internal sealed class Tags : IEquatable<Tags>
{
    public const int MaxCount = 10;
    public const int MaxNameLength = 32;
    public const int MaxLength = 64;

    /// <summary>A name as a regular expression, for the JSON Schema. The twin allows no dots and blanks.</summary>
    public const string NamePattern = "^[A-Za-z][A-Za-z0-9_-]{0,31}$";

    // Used already: properties of messages, and labels that metrics have or that Prometheus adds.
    static readonly string[] Taken =
    [
        "lane", "sensor", "value", "unit", "alarm", "severity", "iothub", "edge_device", "module", "instance_number",
        "job", "instance", "le", "quantile",
    ];

    const string TakenPrefix = "iothub_";

    readonly KeyValuePair<string, string>[] _pairs; // by name

    Tags(KeyValuePair<string, string>[] pairs)
    {
        _pairs = pairs;
        Labels = [.. pairs.Select(pair => KeyValuePair.Create(LabelOf(pair.Key), (object?)pair.Value))];
        Bytes = pairs.Sum(pair => pair.Key.Length + Encoding.UTF8.GetByteCount(pair.Value));
    }

    public static Tags None { get; } = new([]);

    public bool IsEmpty => _pairs.Length == 0;

    /// <summary>The tags as labels of a metric, in the order of their names.</summary>
    public IReadOnlyList<KeyValuePair<string, object?>> Labels { get; }

    /// <summary>The size of names and texts as properties of a message.</summary>
    public int Bytes { get; }

    /// <summary>An option whose value is an object of tags.</summary>
    public static Option<Tags> Option(string name, string text) => new(
        name, new OptionShape.Tags(MaxCount, NamePattern, MaxLength), text, None, TryRead, static tags => tags.ToJson())
    {
        Fault = Objection,
    };

    /// <summary>The tags in a reading that can be properties of a message: another program may have written the
    /// reading.</summary>
    /// <param name="value">The object of tags; any other value has none.</param>
    public static Tags Usable(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Object) return None;
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        return new([
            .. value.EnumerateObject()
                .Where(tag => tag.Value.ValueKind == JsonValueKind.String && Objection(tag, names) is null)
                .Take(MaxCount).Select(tag => KeyValuePair.Create(tag.Name, tag.Value.GetString()!))
                .OrderBy(tag => tag.Key, StringComparer.Ordinal),
        ]);
    }

    /// <summary>These tags, and those of <paramref name="others"/> with other names.</summary>
    public IEnumerable<KeyValuePair<string, string>> With(Tags others) => _pairs.Concat(others._pairs.ExceptBy(
        Labels.Select(label => label.Key), other => LabelOf(other.Key), StringComparer.OrdinalIgnoreCase));

    /// <summary>Writes the tags as a property of a JSON object; nothing if there are none.</summary>
    public void WriteTo(Utf8JsonWriter json, JsonEncodedText property)
    {
        if (IsEmpty) return;
        json.WriteStartObject(property);
        foreach (var (name, text) in _pairs) json.WriteString(name, text);
        json.WriteEndObject();
    }

    /// <returns>Null when there are no tags.</returns>
    public JsonObject? ToJson() =>
        IsEmpty ? null : new(_pairs.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value)));

    public bool Equals(Tags? other) => other is not null && _pairs.AsSpan().SequenceEqual(other._pairs);

    public override bool Equals(object? obj) => Equals(obj as Tags);

    public override int GetHashCode() => IsEmpty ? 0 : HashCode.Combine(_pairs.Length, _pairs[0], _pairs[^1]);

    static bool TryRead(JsonElement value, out Tags result)
    {
        result = None;
        if (value.ValueKind != JsonValueKind.Object || Objection(value) is not null) return false;
        result = new([
            .. value.EnumerateObject().Where(tag => tag.Value.ValueKind != JsonValueKind.Null)
                .Select(tag => KeyValuePair.Create(tag.Name, tag.Value.GetString()!))
                .OrderBy(tag => tag.Key, StringComparer.Ordinal),
        ]);
        return true;
    }

    static string? Objection(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Object) return null;
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var tag in value.EnumerateObject())
        {
            if (names.Count == MaxCount) return $"there are more than {MaxCount} tags";
            if (Objection(tag, names) is { } objection) return objection;
        }

        return null;
    }

    static string? Objection(JsonProperty tag, Dictionary<string, string> names)
    {
        var shown = LogText.Name(tag.Name);
        if (!IsName(tag.Name))
            return $"{shown} is not a valid tag name; a name has 1 to {MaxNameLength} letters, digits, - and _, and "
                + "begins with a letter";

        // Routes compare the names of properties without regard to case.
        var compared = LabelOf(tag.Name).ToLowerInvariant();
        if (Taken.Contains(compared) || compared.StartsWith(TakenPrefix, StringComparison.Ordinal))
            return $"{shown} is the name of a property of messages or of a label of /metrics; choose another name";
        if (!names.TryAdd(compared, tag.Name))
            return $"{shown} and {names[compared]} are the same label of /metrics; choose another name";
        return tag.Value.ValueKind == JsonValueKind.Null
            || (tag.Value.ValueKind == JsonValueKind.String
                && Options.Option.IsText(tag.Value.GetString(), MaxLength))
            ? null
            : $"{shown}: {LogText.Quote(tag.Value)} is not allowed; allowed is a text of 1 to {MaxLength} characters";
    }

    static bool IsName(string name) => name.Length is > 0 and <= MaxNameLength && char.IsAsciiLetter(name[0])
        && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-');

    static string LabelOf(string name) => name.Replace('-', '_');
}
