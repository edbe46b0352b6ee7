using System.Globalization;
using System.IO.Compression;
using System.Text.Json;

namespace EdgeSimulator.Hub;

/// <summary>A telemetry message and the values that routing queries compare: string, double, bool, null,
/// <see cref="Undefined"/>, or a <see cref="JsonElement"/> of the body, which equals nothing.</summary>
internal sealed class RoutedMessage(HubTopic.Telemetry from, IReadOnlyDictionary<string, string?> properties, byte[] body)
{
    // Names in queries, with their short form in MQTT topics (edgeHub's SystemProperties.cs).
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
    byte[]? _content;

    public static string SystemPropertyNames => string.Join(", ", SystemProperties.Keys.Select(name => $"${name}"));

    public HubTopic.Telemetry From => from;

    public IReadOnlyDictionary<string, string?> Properties => properties;

    public byte[] Body => body;

    /// <summary>The body, decompressed if contentEncoding is gzip. A body that is not valid gzip stays
    /// unchanged.</summary>
    public byte[] Content => _content ??= properties.GetValueOrDefault("$.ce") == "gzip" ? Decompressed() : body;

    /// <summary>Size of body and properties in bytes, as edgeHub calculates it.</summary>
    public int Size => body.Length + properties.Sum(property => property.Key.Length + (property.Value?.Length ?? 0));

    /// <summary>The output that the message was sent to; empty if none.</summary>
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

    /// <summary>A value of the body. Undefined unless contentType and contentEncoding declare JSON in UTF-8.</summary>
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

    byte[] Decompressed()
    {
        try
        {
            using var content = new MemoryStream();
            using var gzip = new GZipStream(new MemoryStream(body), CompressionMode.Decompress);
            gzip.CopyTo(content);
            return content.ToArray();
        }
        catch (InvalidDataException)
        {
            return body;
        }
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
