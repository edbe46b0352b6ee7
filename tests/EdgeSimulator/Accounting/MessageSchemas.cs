using System.Text.Json;
using Json.Schema;

namespace EdgeSimulator.Accounting;

/// <summary>The JSON Schemas of <c>docs/schemas</c>, which describe what receivers get. Thread-safe.</summary>
internal sealed class MessageSchemas
{
    const string Batch = "batch.schema.json";
    const string PnpReading = "pnp-reading.schema.json";
    const int TextMax = 300;

    // The schemas refer to each other by file name. The address is only a name; nothing is fetched.
    static readonly Uri Folder = new("urn:sensorforwarder:/");

    static readonly EvaluationOptions List = new() { OutputFormat = OutputFormat.List };

    readonly Dictionary<string, JsonSchema> _schemas = [];

    public MessageSchemas()
    {
        // In this order, so that a schema is known before another one refers to it.
        var options = new BuildOptions { SchemaRegistry = new SchemaRegistry() };
        foreach (var name in (string[])["reading.schema.json", "gap.schema.json", "alarm.schema.json", "pushed-reading.schema.json", Batch, PnpReading, "dead-letters.schema.json"])
        {
            using var reader = new StreamReader(typeof(MessageSchemas).Assembly.GetManifestResourceStream(name)!);
            _schemas[name] = JsonSchema.FromText(reader.ReadToEnd(), options, new Uri(Folder, name));
        }
    }

    /// <summary>Validates the body of a telemetry message: a batch, or a Plug and Play message if it has no
    /// <c>batch</c>. Returns the first violation with its place; null: it is valid.</summary>
    public string? Objection(ReadOnlyMemory<byte> utf8)
    {
        try
        {
            using var document = JsonDocument.Parse(utf8);
            var root = document.RootElement;
            var isBatch = root.ValueKind != JsonValueKind.Object || root.TryGetProperty("batch", out _) || !root.TryGetProperty("sensor", out _);
            return Objection(isBatch ? Batch : PnpReading, root);
        }
        catch (JsonException exception)
        {
            return $"not JSON: {exception.Message}";
        }
    }

    /// <summary>Validates a value against one of the files.</summary>
    public string? Objection(string schema, JsonElement value)
    {
        // Listing the errors is much slower than the check alone.
        if (_schemas[schema].Evaluate(value).IsValid)
        {
            return null;
        }

        // A subschema below if or not may fail without a violation.
        var details = _schemas[schema].Evaluate(value, List).Details ?? [];
        var deepest = details
            .Where(detail => detail.Errors is { Count: > 0 } && !detail.EvaluationPath.ToString().Split('/').Any(part => part is "if" or "not"))
            .MaxBy(detail => detail.InstanceLocation.SegmentCount);
        return deepest is null
            ? $"not valid against {schema}"
            : $"{deepest.InstanceLocation}: {string.Join("; ", deepest.Errors!.Select(error => $"{error.Key}: {error.Value}"))} " +
                $"({Path.GetFileName(deepest.SchemaLocation.AbsolutePath)}{deepest.SchemaLocation.Fragment}), value {Shorten(At(value, deepest.InstanceLocation.ToString()))}";
    }

    static string At(JsonElement value, string pointer)
    {
        foreach (var segment in pointer.Split('/').Skip(1).Select(part => part.Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal)))
        {
            value = value.ValueKind == JsonValueKind.Array
                ? value[int.Parse(segment, System.Globalization.CultureInfo.InvariantCulture)]
                : value.GetProperty(segment);
        }

        return value.GetRawText();
    }

    static string Shorten(string text) => text.Length <= TextMax ? text : $"{text[..TextMax]}...";
}
