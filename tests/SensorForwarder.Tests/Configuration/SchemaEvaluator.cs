using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace SensorForwarder.Tests.Configuration;

/// <summary>The subset of JSON Schema draft-07 that our schema uses; any other keyword is an error.</summary>
internal sealed class SchemaEvaluator(JsonObject root)
{
    static readonly string[] Annotations = ["$schema", "title", "description", "default", "definitions", "then"];

    /// <summary>The first violation, or null if the value is valid.</summary>
    public string? Objection(JsonNode? value) => Objection(root, value, "");

    string? Objection(JsonNode schema, JsonNode? value, string path)
    {
        if (schema is JsonValue flag) return flag.GetValue<bool>() ? null : $"{path}: nothing is allowed here";
        return schema.AsObject()
            .Where(keyword => !Annotations.Contains(keyword.Key))
            .Select(keyword => Check(keyword.Key, keyword.Value!, schema.AsObject(), value, path))
            .FirstOrDefault(objection => objection is not null);
    }

    string? Check(string keyword, JsonNode rule, JsonObject schema, JsonNode? value, string path)
    {
        var fails = $"{path}: {keyword} {rule.ToJsonString()} is not met by {value?.ToJsonString() ?? "null"}";
        var (map, list, text) = (value as JsonObject, value as JsonArray, Kind(value) == "string" ? value!.GetValue<string>() : null);
        switch (keyword)
        {
            case "$ref":
                var target = rule.GetValue<string>()["#/".Length..].Split('/').Aggregate((JsonNode)root, (node, name) => node[name]!);
                return Objection(target, value, path);
            case "type":
                var types = rule is JsonArray several ? several.Select(type => type!.GetValue<string>()) : [rule.GetValue<string>()];
                return types.Any(type => type == Kind(value) || (type == "integer" && Number(value) is { } whole && whole == Math.Floor(whole))) ? null : fails;
            case "enum":
                return rule.AsArray().Any(allowed => AreEqual(allowed, value)) ? null : fails;
            case "const":
                return AreEqual(rule, value) ? null : fails;
            case "minimum":
                return Number(value) is { } low && low < rule.GetValue<double>() ? fails : null;
            case "maximum":
                return Number(value) is { } high && high > rule.GetValue<double>() ? fails : null;
            case "minLength":
                return text?.Length < rule.GetValue<int>() ? fails : null;
            case "maxLength":
                return text?.Length > rule.GetValue<int>() ? fails : null;
            case "pattern":
                return text is not null && !Regex.IsMatch(text, rule.GetValue<string>()) ? fails : null;
            case "properties":
                return map?.Where(pair => rule[pair.Key] is not null)
                    .Select(pair => Objection(rule[pair.Key]!, pair.Value, $"{path}/{pair.Key}")).FirstOrDefault(objection => objection is not null);
            case "additionalProperties":
                return map?.Where(pair => (schema["properties"] as JsonObject)?.ContainsKey(pair.Key) != true)
                    .Select(pair => Objection(rule, pair.Value, $"{path}/{pair.Key}")).FirstOrDefault(objection => objection is not null);
            case "propertyNames":
                return map?.Select(pair => Objection(rule, pair.Key, $"{path}/{pair.Key}")).FirstOrDefault(objection => objection is not null);
            case "minProperties":
                return map?.Count < rule.GetValue<int>() ? fails : null;
            case "maxProperties":
                return map?.Count > rule.GetValue<int>() ? fails : null;
            case "required":
                return map is not null && rule.AsArray().Any(name => !map.ContainsKey(name!.GetValue<string>())) ? fails : null;
            case "items":
                return list?.Select(item => Objection(rule, item, path)).FirstOrDefault(objection => objection is not null);
            case "minItems":
                return list?.Count < rule.GetValue<int>() ? fails : null;
            case "maxItems":
                return list?.Count > rule.GetValue<int>() ? fails : null;
            case "uniqueItems":
                return list is not null && list.Select(item => item?.ToJsonString()).Distinct().Count() < list.Count ? fails : null;
            case "anyOf":
                return rule.AsArray().Any(choice => Objection(choice!, value, path) is null) ? null : fails;
            case "allOf":
                return rule.AsArray().Select(part => Objection(part!, value, path)).FirstOrDefault(objection => objection is not null);
            case "if":
                return Objection(rule, value, path) is null ? Objection(schema["then"]!, value, path) : null;
            default:
                throw new InvalidOperationException($"the keyword '{keyword}' is not supported");
        }
    }

    static bool AreEqual(JsonNode? a, JsonNode? b) => JsonNode.DeepEquals(a, b) || (Number(a) is { } x && Number(b) is { } y && x == y);

    static double? Number(JsonNode? value) =>
        Kind(value) == "number" ? double.Parse(value!.ToJsonString(), System.Globalization.CultureInfo.InvariantCulture) : null;

    static string Kind(JsonNode? value) => value?.GetValueKind() switch
    {
        null or JsonValueKind.Null => "null",
        JsonValueKind.Object => "object",
        JsonValueKind.Array => "array",
        JsonValueKind.String => "string",
        JsonValueKind.Number => "number",
        _ => "boolean",
    };
}
