using System.Globalization;
using System.Text.Json;

namespace EdgeSimulator.Hub;

/// <summary>A telemetry message as routes see it. A value is a string, a number (double), a bool, null, <see cref="Undefined"/>, or
/// something else of the body that compares with nothing.</summary>
internal sealed class RoutedMessage(HubTopic.Telemetry from, IReadOnlyDictionary<string, string?> properties, byte[] body)
{
    // Names in queries and their short form on the wire (edgeHub's SystemProperties.cs).
    static readonly Dictionary<string, string> SystemProperties = new(StringComparer.OrdinalIgnoreCase)
    {
        ["messageId"] = "$.mid",
        ["correlationId"] = "$.cid",
        ["userId"] = "$.uid",
        ["contentType"] = "$.ct",
        ["contentEncoding"] = "$.ce",
        ["outputName"] = "$.on",
        ["connectionDeviceId"] = "",
        ["connectionModuleId"] = "",
    };

    JsonElement? _body;

    public static string SystemPropertyNames => string.Join(", ", SystemProperties.Keys.Select(name => $"${name}"));

    public HubTopic.Telemetry From => from;

    public IReadOnlyDictionary<string, string?> Properties => properties;

    public byte[] Body => body;

    /// <summary>Body and properties, as edgeHub counts them.</summary>
    public int Size => body.Length + properties.Sum(property => property.Key.Length + (property.Value?.Length ?? 0));

    /// <summary>The output it was sent to; empty without one.</summary>
    public string Output => properties.GetValueOrDefault("$.on") ?? "";

    public static bool IsSystemProperty(string name) => SystemProperties.ContainsKey(name);

    public static object Number(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number) ? number : Undefined.Value;

    public object? SystemProperty(string name) => name.ToUpperInvariant() switch
    {
        "CONNECTIONDEVICEID" => from.DeviceId,
        "CONNECTIONMODULEID" => from.ModuleId,
        _ => Property(SystemProperties[name]),
    };

    public object? Property(string name) => properties.TryGetValue(name, out var value) ? value : Undefined.Value;

    /// <summary>A value of the body, which is looked into only if it is said to be JSON in UTF-8.</summary>
    public object? InBody(IReadOnlyList<string> path)
    {
        var at = _body ??= Parse();
        foreach (var step in path)
        {
            if (at.ValueKind == JsonValueKind.Object && at.TryGetProperty(step, out var inner))
            {
                at = inner;
            }
            else if (at.ValueKind == JsonValueKind.Array &&
                int.TryParse(step, NumberStyles.None, CultureInfo.InvariantCulture, out var index) && index < at.GetArrayLength())
            {
                at = at[index];
            }
            else
            {
                return Undefined.Value;
            }
        }

        return at.ValueKind switch
        {
            JsonValueKind.Undefined => Undefined.Value,
            JsonValueKind.Null => null,
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.Number => at.GetDouble(),
            JsonValueKind.String => at.GetString(),
            _ => at,
        };
    }

    JsonElement Parse()
    {
        if (!string.Equals(properties.GetValueOrDefault("$.ct"), "application/json", StringComparison.OrdinalIgnoreCase) ||
            !string.Equals(properties.GetValueOrDefault("$.ce"), "utf-8", StringComparison.OrdinalIgnoreCase))
        {
            return default;
        }

        try
        {
            return JsonElement.Parse(body);
        }
        catch (JsonException)
        {
            return default;
        }
    }
}
