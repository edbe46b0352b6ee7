using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace SensorForwarder.Tests.Configuration;

/// <summary>The rules of DTDL v2 (https://github.com/Azure/opendigitaltwins-dtdl, DTDL.v2.md), except relationships, inheritance,
/// arrays and geospatial schemas: a model that uses these fails.</summary>
internal sealed partial class DtdlChecker
{
    static readonly string[] Primitives = ["boolean", "date", "dateTime", "double", "duration", "float", "integer", "long", "string", "time"];
    static readonly string[] Numeric = ["double", "float", "integer", "long"];

    // The semantic types in use, with their units.
    static readonly Dictionary<string, string[]> Semantic = new()
    {
        ["TimeSpan"] = ["day", "hour", "microsecond", "millisecond", "minute", "nanosecond", "second", "year"],
        ["DataSize"] = ["bit", "byte", "kibibyte", "mebibyte", "gibibyte"],
        ["Temperature"] = ["degreeCelsius", "degreeFahrenheit", "kelvin"],
        ["RelativeHumidity"] = ["percent", "unity"],
        ["Pressure"] = ["bar", "kilopascal", "millibar", "pascal"],
        ["Illuminance"] = ["footcandle", "lux"],
        ["Voltage"] = ["kilovolt", "megavolt", "microvolt", "millivolt", "volt"],
        ["Current"] = ["ampere", "microampere", "milliampere"],
        ["Power"] = ["kilowatt", "milliwatt", "watt"],
        ["Distance"] = ["centimetre", "metre", "millimetre"],
    };

    readonly List<string> _problems = [];

    [GeneratedRegex("^dtmi:[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?(?::[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?)*;[1-9][0-9]{0,8}$")]
    private static partial Regex Dtmi { get; }

    [GeneratedRegex("^[A-Za-z](?:[A-Za-z0-9_]*[A-Za-z0-9])?$")]
    private static partial Regex Name { get; }

    /// <summary>All violations.</summary>
    public static IReadOnlyList<string> Check(JsonObject model)
    {
        var checker = new DtdlChecker();
        if ((string?)model["@context"] != "dtmi:dtdl:context;2") checker._problems.Add("@context is not dtmi:dtdl:context;2");
        checker.Interface(model, "", isComponent: false);
        return checker._problems;
    }

    void Interface(JsonNode? node, string path, bool isComponent)
    {
        if (node is not JsonObject model || (string?)model["@type"] != "Interface")
        {
            Fail(path, "is no Interface");
            return;
        }

        Keys(model, path, "@context", "@id", "@type", "comment", "contents", "description", "displayName");
        var id = (string?)model["@id"] ?? "";
        if (id.Length > 128 || !Dtmi.IsMatch(id)) Fail(path, $"@id '{id}' is no DTMI of at most 128 characters");
        Texts(model, path);
        var contents = model["contents"] as JsonArray ?? [];
        if (contents.Count > 300) Fail(path, "has more than 300 contents");
        foreach (var content in contents) Content(content!.AsObject(), path, isComponent);
        Unique(contents, path, "name");
    }

    void Content(JsonObject content, string parent, bool isInComponent)
    {
        var types = content["@type"] is JsonArray several ? several.Select(type => (string)type!).ToList() : [(string?)content["@type"] ?? ""];
        var path = $"{parent}/{Named(content, parent)}";
        Texts(content, path);
        switch (types[0])
        {
            case "Telemetry" or "Property":
                Keys(content, path, ["@type", "name", "displayName", "description", "comment", "schema", "unit", .. types[0] == "Property" ? (string[])["writable"] : []]);
                Schema(content["schema"], path, 0);
                if (content["writable"] is { } writable && writable.GetValueKind() is not (JsonValueKind.True or JsonValueKind.False)) Fail(path, "writable is no boolean");
                SemanticType(content, types, path);
                break;
            case "Command":
                Keys(content, path, "@type", "name", "displayName", "description", "comment", "request", "response");
                foreach (var payload in (string[])["request", "response"])
                {
                    if (content[payload] is not JsonObject form) continue;
                    Keys(form, path, "@type", "name", "displayName", "description", "comment", "schema");
                    Named(form, path);
                    Schema(form["schema"], $"{path}/{payload}", 0);
                }

                break;
            case "Component":
                Keys(content, path, "@type", "name", "displayName", "description", "comment", "schema");
                if (isInComponent) Fail(path, "is a component inside a component");
                else Interface(content["schema"], path, isComponent: true);
                break;
            default:
                Fail(path, $"@type '{types[0]}' is none of Telemetry, Property, Command, Component");
                break;
        }
    }

    void SemanticType(JsonObject content, List<string> types, string path)
    {
        if (types.Count == 1)
        {
            if (content.ContainsKey("unit")) Fail(path, "has a unit without a semantic type");
            return;
        }

        if (types.Count > 2 || !Semantic.TryGetValue(types[1], out var units)) Fail(path, $"semantic type {string.Join(", ", types.Skip(1))} is not known");
        else if (!units.Contains((string?)content["unit"])) Fail(path, $"unit '{content["unit"]}' is none of {types[1]}");
        if (content["schema"] is not JsonValue schema || !Numeric.Contains((string?)schema)) Fail(path, "has a semantic type, and its schema is no number");
    }

    void Schema(JsonNode? schema, string path, int depth)
    {
        if (depth > 5) Fail(path, "is nested deeper than 5");
        if (schema is JsonValue name)
        {
            if (!Primitives.Contains((string?)name)) Fail(path, $"schema '{name}' is none of DTDL's");
            return;
        }

        switch ((string?)schema?["@type"])
        {
            case "Enum":
                Keys(schema!.AsObject(), path, "@type", "valueSchema", "enumValues");
                var values = schema["enumValues"] as JsonArray ?? [];
                if (values.Count is 0 or > 100) Fail(path, "an Enum has 1 to 100 values");
                if ((string?)schema["valueSchema"] is not ("string" or "integer")) Fail(path, "valueSchema is neither string nor integer");
                foreach (var value in values)
                {
                    Named(value!.AsObject(), path);
                    var isText = value["enumValue"]?.GetValueKind() == JsonValueKind.String;
                    if (isText != ((string?)schema["valueSchema"] == "string")) Fail(path, "an enumValue is not of the valueSchema");
                }

                Unique(values, path, "name");
                Unique(values, path, "enumValue");
                break;
            case "Object":
                Keys(schema!.AsObject(), path, "@type", "fields");
                var fields = schema["fields"] as JsonArray ?? [];
                if (fields.Count > 30) Fail(path, "an Object has at most 30 fields");
                foreach (var field in fields) Schema(field!["schema"], $"{path}/{Named(field.AsObject(), path)}", depth + 1);
                Unique(fields, path, "name");
                break;
            case "Map":
                Keys(schema!.AsObject(), path, "@type", "mapKey", "mapValue");
                if (schema["mapKey"] is not JsonObject key || (string?)key["schema"] != "string") Fail(path, "a Map has text as key");
                else Named(key, path);
                if (schema["mapValue"] is JsonObject mapValue) Schema(mapValue["schema"], $"{path}/{Named(mapValue, path)}", depth + 1);
                else Fail(path, "a Map has a mapValue");
                break;
            default:
                Fail(path, $"schema {schema?.ToJsonString() ?? "(none)"} is none of Enum, Object, Map");
                break;
        }
    }

    string Named(JsonObject node, string path)
    {
        var name = (string?)node["name"] ?? "";
        if (name.Length > 64 || !Name.IsMatch(name)) Fail(path, $"'{name}' is no name of at most 64 letters, digits and underscores, a letter first");
        return name;
    }

    void Texts(JsonObject node, string path)
    {
        foreach (var (name, max) in (ValueTuple<string, int>[])[("displayName", 64), ("description", 512), ("comment", 512)])
        {
            if (((string?)node[name])?.Length > max) Fail(path, $"{name} is longer than {max}");
        }
    }

    void Keys(JsonObject node, string path, params string[] allowed)
    {
        foreach (var (key, _) in node)
        {
            if (!allowed.Contains(key)) Fail(path, $"'{key}' does not belong there");
        }
    }

    void Unique(JsonArray nodes, string path, string key)
    {
        foreach (var twice in nodes.GroupBy(node => node![key]?.ToJsonString()).Where(group => group.Count() > 1)) Fail(path, $"{twice.Key} stands twice");
    }

    void Fail(string path, string problem) => _problems.Add($"{path}: {problem}");
}
