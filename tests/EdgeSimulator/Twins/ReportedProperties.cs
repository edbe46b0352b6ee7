using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace EdgeSimulator.Twins;

/// <summary>Validates reported properties as edgeHub does (Core/twin/ReportedPropertiesValidator.cs).</summary>
internal static class ReportedProperties
{
    const int DocumentMaxBytes = 32 * 1024;
    const int NameMaxBytes = 1024;
    const int StringMaxBytes = 4096;
    const int DepthMax = 10;
    const long IntegerMax = 1L << 52;

    /// <summary>What is wrong with a patch, or null.</summary>
    public static string? Objection(JsonNode? patch)
    {
        if (patch is not JsonObject properties)
        {
            return "the patch is not a JSON object";
        }

        var size = Encoding.UTF8.GetByteCount(patch.ToJsonString());
        return size > DocumentMaxBytes
            ? $"the patch has {size} bytes; the limit is {DocumentMaxBytes}"
            : ObjectObjection(properties, "", 1);
    }

    static string? ObjectObjection(JsonObject properties, string path, int depth)
    {
        if (depth > DepthMax)
        {
            return $"'{path}' is nested deeper than {DepthMax}";
        }

        foreach (var (name, value) in properties)
        {
            var at = path.Length == 0 ? name : $"{path}.{name}";
            if (Encoding.UTF8.GetByteCount(name) > NameMaxBytes)
            {
                return $"the name '{at[..40]}...' is longer than {NameMaxBytes} bytes";
            }

            if (name.Any(c => c is '.' or '$' or '#' || char.IsWhiteSpace(c) || char.IsControl(c)))
            {
                return $"the name '{at}' contains . $ # or white space";
            }

            if (ValueObjection(value, at, depth) is { } objection)
            {
                return objection;
            }
        }

        return null;
    }

    static string? ValueObjection(JsonNode? value, string path, int depth)
    {
        switch (value)
        {
            case JsonObject inner:
                return ObjectObjection(inner, path, depth + 1);
            case JsonArray array:
                return array.Select((item, index) =>
                    item is null ? $"'{path}[{index}]' is null" : ValueObjection(item, $"{path}[{index}]", depth + 1))
                    .FirstOrDefault(objection => objection is not null);
            case JsonValue leaf when leaf.GetValueKind() == JsonValueKind.String:
                var bytes = Encoding.UTF8.GetByteCount(leaf.GetValue<string>());
                return bytes > StringMaxBytes ? $"'{path}' has {bytes} bytes; the limit is {StringMaxBytes}" : null;
            case JsonValue leaf when leaf.TryGetValue<long>(out var number) && number is > IntegerMax or < -IntegerMax:
                return $"'{path}' is {number}; the limit is 2^52";
            default:
                return null;
        }
    }
}
