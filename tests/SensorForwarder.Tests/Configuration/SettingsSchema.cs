using System.Globalization;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Options;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Configuration;

/// <summary>Generates <c>settings.schema.json</c> from the settings table and the kinds of sensors: JSON Schema draft-07, which all
/// editors support.</summary>
internal static class SettingsSchema
{
    public static JsonObject Create() => new()
    {
        ["$schema"] = "http://json-schema.org/draft-07/schema#",
        ["title"] = "Settings of SensorForwarder",
        ["description"] = "The file that Settings__File names, or the desired properties of the module twin. null returns to the default.",
        ["type"] = "object",
        ["properties"] = new JsonObject(
        [
            KeyValuePair.Create("$schema", (JsonNode?)new JsonObject { ["type"] = "string", ["description"] = "This schema, for editors; the module passes it over." }),
            .. SettingsTable.All.Select(setting => KeyValuePair.Create(setting.Key, (JsonNode?)Value(setting.Option))),
            KeyValuePair.Create(SettingsTable.SensorsKey, (JsonNode?)Sensors()),
        ]),
        ["additionalProperties"] = false,
        ["definitions"] = new JsonObject { ["sensor"] = Sensor(), ["alarms"] = Value(CommonOptions.Alarms) },
    };

    static JsonObject Sensors() => new()
    {
        ["description"] = "The sensors, by name.",
        ["type"] = new JsonArray("object", "null"),
        ["default"] = new JsonObject { ["host"] = JsonNode.Parse(SensorsParser.DefaultEntry) },
        ["propertyNames"] = new JsonObject { ["pattern"] = $"^[^ .$#\"\\\\\\u0000-\\u001f\\u007f-\\u009f]{{1,{SensorSettings.MaxNameLength}}}$" },
        ["maxProperties"] = SensorsParser.MaxSensors,
        ["additionalProperties"] = new JsonObject
        {
            ["anyOf"] = new JsonArray(new JsonObject { ["$ref"] = "#/definitions/sensor" }, new JsonObject { ["type"] = "null" }),
        },
    };

    static JsonObject Sensor() => new()
    {
        ["type"] = "object",
        ["properties"] = new JsonObject
        {
            ["kind"] = new JsonObject
            {
                ["enum"] = new JsonArray([.. Module.SensorKinds.All.Select(kind => (JsonNode)kind.Name)]),
                ["description"] = "What kind of sensor it is.",
            },
        },
        ["required"] = new JsonArray("kind"),
        ["allOf"] = new JsonArray([.. Module.SensorKinds.All.Select(Kind)]),
    };

    static JsonNode Kind(SensorKind kind)
    {
        var properties = new JsonObject { ["kind"] = new JsonObject { ["const"] = kind.Name, ["description"] = kind.Text } };
        foreach (var option in kind.AllOptions)
            properties[option.Name] = option == CommonOptions.Alarms ? new JsonObject { ["$ref"] = "#/definitions/alarms" } : Value(option);
        var then = new JsonObject { ["properties"] = properties, ["additionalProperties"] = false };
        var required = kind.Options.Where(option => option.IsRequired).Select(option => (JsonNode)option.Name).ToArray();
        if (required.Length > 0) then["required"] = new JsonArray(required);
        return new JsonObject
        {
            ["if"] = new JsonObject { ["properties"] = new JsonObject { ["kind"] = new JsonObject { ["const"] = kind.Name } }, ["required"] = new JsonArray("kind") },
            ["then"] = then,
        };
    }

    static JsonObject Value(Option option)
    {
        var schema = option.Shape switch
        {
            OptionShape.Flag => Flag(),
            OptionShape.WholeNumber(var min, var max) => Number("integer", min, max),
            OptionShape.Number(var min, var max) => Number("number", min, max),
            OptionShape.Text(var length) => new JsonObject { ["type"] = new JsonArray("string", "null"), ["minLength"] = 1, ["maxLength"] = length },
            OptionShape.NameOrNumber(var min, var max, var length) => AnyOf(
                Number("integer", min, max), new JsonObject { ["type"] = "string", ["minLength"] = 1, ["maxLength"] = length }),
            OptionShape.Choice(var names) => Choice(names),
            OptionShape.HttpUrl => new JsonObject
            {
                ["type"] = new JsonArray("string", "null"),
                ["maxLength"] = Option.MaxUrlLength,
                ["pattern"] = @"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\s]+([/?#].*)?$",
            },
            OptionShape.Texts(var count) => List(new JsonObject { ["type"] = "string", ["minLength"] = 1 }, count),
            OptionShape.WholeNumbers(var min, var max) => List(new JsonObject { ["type"] = "integer", ["minimum"] = min, ["maximum"] = max }, null),
            OptionShape.NumberByValue(var min, var max) => AnyOf(
                Number("number", min, max), new JsonObject { ["type"] = "object", ["additionalProperties"] = Number("number", min, max) }),
            OptionShape.BandByValue(var max, var pattern) => AnyOf(
                Number("number", 0, max), Percentage(pattern),
                new JsonObject { ["type"] = "object", ["additionalProperties"] = AnyOf(Number("number", 0, max), Percentage(pattern)) }),
            OptionShape.CurveByValue(var points, var max) => AnyOf(
                Curve(points, max), new JsonObject { ["type"] = "object", ["additionalProperties"] = Curve(points, max) }),
            OptionShape.TextByValue(var length) => new JsonObject
            {
                ["type"] = new JsonArray("object", "null"),
                ["additionalProperties"] = new JsonObject { ["type"] = new JsonArray("string", "null"), ["minLength"] = 1, ["maxLength"] = length },
            },
            OptionShape.Tags(var count, var pattern, var length) => new JsonObject
            {
                ["type"] = new JsonArray("object", "null"),
                ["propertyNames"] = new JsonObject { ["pattern"] = pattern },
                ["maxProperties"] = count,
                ["additionalProperties"] = new JsonObject { ["type"] = new JsonArray("string", "null"), ["minLength"] = 1, ["maxLength"] = length },
            },
            OptionShape.Address(var addresses) => AnyOf(
                new JsonObject { ["enum"] = new JsonArray([.. addresses.Select(address => (JsonNode)address), null]) },
                new JsonObject { ["type"] = "string", ["pattern"] = $"^0[xX]0*({string.Join('|', addresses.Select(address => $"{Hex(address)}"))})$" }),
            OptionShape.HexNumber(var min, var max) => AnyOf(
                Number("integer", min, max), new JsonObject { ["type"] = "string", ["pattern"] = $"^0[xX]0*[0-9a-fA-F]{{1,{max.ToString("x", CultureInfo.InvariantCulture).Length}}}$" }),
            OptionShape.TextForm(_, var pattern) => new JsonObject
            {
                ["type"] = new JsonArray("string", "null"),
                ["maxLength"] = 256,
                ["pattern"] = pattern,
            },
            OptionShape.Entries entries => Entries(entries),
            OptionShape.Fields(var options) => AnyOf(ObjectOf(options), new JsonObject { ["type"] = "null" }),
            OptionShape.Objects(var options, var count) => new JsonObject
            {
                ["type"] = new JsonArray("array", "null"),
                ["items"] = ObjectOf(options),
                ["maxItems"] = count,
            },
            _ => throw new InvalidOperationException($"{option.Name}: there is no schema for {option.Shape}"),
        };
        schema["description"] = option.DefaultSource is { } source ? $"{option.Text} Default: {source}." : option.Text;
        if (option.Default is { } standard) schema["default"] = standard;
        return schema;
    }

    // Hexadecimal digits in either case.
    static string Hex(int address) => string.Concat($"{address:x}".Select(c => char.IsAsciiLetter(c) ? $"[{c}{char.ToUpperInvariant(c)}]" : $"{c}"));

    static JsonObject Percentage(string pattern) => new() { ["type"] = "string", ["pattern"] = pattern };

    // A schema cannot say that the raw values differ.
    static JsonObject Curve(int maxPoints, double max) => new()
    {
        ["type"] = new JsonArray("array", "null"),
        ["items"] = new JsonObject
        {
            ["type"] = "array",
            ["items"] = new JsonObject { ["type"] = "number", ["minimum"] = -max, ["maximum"] = max },
            ["minItems"] = 2,
            ["maxItems"] = 2,
        },
        ["minItems"] = 2,
        ["maxItems"] = maxPoints,
    };

    static JsonObject Flag() => new() { ["type"] = new JsonArray("boolean", "null") };

    static JsonObject Number(string type, double min, double max) => new()
    {
        ["type"] = new JsonArray(type, "null"),
        ["minimum"] = min,
        ["maximum"] = max,
    };

    static JsonObject Choice(IReadOnlyList<string> names) => new()
    {
        ["enum"] = new JsonArray([.. names.Select(name => (JsonNode)name), null]),
    };

    static JsonObject List(JsonObject items, int? maxItems)
    {
        var schema = new JsonObject { ["type"] = new JsonArray("array", "null"), ["items"] = items, ["minItems"] = 1 };
        if (maxItems is { } max) schema["maxItems"] = max;
        else schema["uniqueItems"] = true;
        return schema;
    }

    static JsonObject Entries(OptionShape.Entries entries) => new()
    {
        ["type"] = new JsonArray("object", "null"),
        ["propertyNames"] = new JsonObject { ["minLength"] = 1, ["maxLength"] = entries.MaxNameLength },
        ["minProperties"] = 1,
        ["maxProperties"] = entries.MaxCount,
        ["additionalProperties"] = AnyOf(
            ObjectOf(entries.Options),
            new JsonObject { ["type"] = "null" }),
    };

    static JsonObject ObjectOf(IReadOnlyList<Option> options) => new()
    {
        ["type"] = "object",
        ["properties"] = new JsonObject([.. options.Select(option => KeyValuePair.Create(option.Name, (JsonNode?)Value(option)))]),
        ["required"] = new JsonArray([.. options.Where(option => option.IsRequired).Select(option => (JsonNode)option.Name)]),
        ["additionalProperties"] = false,
    };

    static JsonObject AnyOf(params JsonNode[] schemas) => new() { ["anyOf"] = new JsonArray(schemas) };
}
