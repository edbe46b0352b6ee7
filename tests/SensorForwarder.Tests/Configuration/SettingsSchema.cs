using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Configuration;

/// <summary>Makes <c>settings.schema.json</c> from the settings table and the kinds of sensors: JSON Schema draft-07, which every
/// editor knows.</summary>
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
            .. SettingsTable.All.Select(setting => KeyValuePair.Create(setting.Key, (JsonNode?)Setting(setting))),
            KeyValuePair.Create(SettingsTable.SensorsKey, (JsonNode?)Sensors()),
        ]),
        ["additionalProperties"] = false,
        ["definitions"] = new JsonObject { ["sensor"] = Sensor() },
    };

    static JsonObject Setting(SettingDefinition setting)
    {
        var schema = setting.Shape switch
        {
            SettingShape.WholeNumber(var min, var max) => Number("integer", min, max),
            SettingShape.Number(var min, var max) => Number("number", min, max),
            SettingShape.Choice(var names) => Choice(names),
            SettingShape.Flag => Flag(),
            SettingShape.HttpUrl => new JsonObject
            {
                ["type"] = new JsonArray("string", "null"),
                ["maxLength"] = SettingDefinition.MaxUrlLength,
                ["pattern"] = @"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\s]+([/?#].*)?$",
            },
            _ => throw new System.Diagnostics.UnreachableException(),
        };
        schema["description"] = setting.DefaultSource is { } source ? $"{setting.Text} Default: {source}." : setting.Text;
        if (setting.DefaultSource is null) schema["default"] = setting.Get(new Settings());
        return schema;
    }

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
                ["enum"] = new JsonArray([.. SensorKinds.All.Select(kind => (JsonNode)kind.Name)]),
                ["description"] = "What kind of sensor it is.",
            },
        },
        ["required"] = new JsonArray("kind"),
        ["allOf"] = new JsonArray([.. SensorKinds.All.Select(Kind)]),
    };

    static JsonNode Kind(SensorKind kind)
    {
        var properties = new JsonObject { ["kind"] = new JsonObject { ["const"] = kind.Name, ["description"] = kind.Text } };
        foreach (var option in kind.AllOptions) properties[option.Name] = Option(option);
        var then = new JsonObject { ["properties"] = properties, ["additionalProperties"] = false };
        var required = kind.Options.Where(option => option.IsRequired).Select(option => (JsonNode)option.Name).ToArray();
        if (required.Length > 0) then["required"] = new JsonArray(required);
        return new JsonObject
        {
            ["if"] = new JsonObject { ["properties"] = new JsonObject { ["kind"] = new JsonObject { ["const"] = kind.Name } }, ["required"] = new JsonArray("kind") },
            ["then"] = then,
        };
    }

    static JsonObject Option(SensorOption option)
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
            OptionShape.Texts(var count) => List(new JsonObject { ["type"] = "string", ["minLength"] = 1 }, count),
            OptionShape.WholeNumbers(var min, var max) => List(new JsonObject { ["type"] = "integer", ["minimum"] = min, ["maximum"] = max }, null),
            OptionShape.NumberByValue(var min, var max) => AnyOf(
                Number("number", min, max), new JsonObject { ["type"] = "object", ["additionalProperties"] = Number("number", min, max) }),
            OptionShape.Address(var addresses) => AnyOf(
                new JsonObject { ["enum"] = new JsonArray([.. addresses.Select(address => (JsonNode)address), null]) },
                new JsonObject { ["type"] = "string", ["pattern"] = $"^0[xX]0*({string.Join('|', addresses.Select(address => $"{Hex(address)}"))})$" }),
            _ => throw new InvalidOperationException($"{option.Name}: there is no schema for {option.Shape}"),
        };
        schema["description"] = option.DefaultSource is { } source ? $"{option.Text} Default: {source}." : option.Text;
        if (option.Default is { } standard) schema["default"] = standard.DeepClone();
        return schema;
    }

    // Hexadecimal digits come in both cases.
    static string Hex(int address) => string.Concat($"{address:x}".Select(c => char.IsAsciiLetter(c) ? $"[{c}{char.ToUpperInvariant(c)}]" : $"{c}"));

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

    static JsonObject AnyOf(params JsonNode[] schemas) => new() { ["anyOf"] = new JsonArray(schemas) };
}
