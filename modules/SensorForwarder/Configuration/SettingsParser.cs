using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Text;

namespace SensorForwarder.Configuration;

/// <summary>The result of parsing one key.</summary>
/// <param name="Key">The key.</param>
/// <param name="Value">The value in force now.</param>
/// <param name="Error">Why the document's value was refused; null: it is in force, or the document has none.</param>
/// <param name="IsDefault">The document does not have the key: the default is in force.</param>
internal sealed record SettingVerdict(string Key, JsonNode? Value, string? Error, bool IsDefault)
{
    /// <summary>A human-readable remark about the value in force; null: none.</summary>
    public string? Note { get; init; }
}

/// <summary>The result of parsing a document.</summary>
/// <param name="Settings">The effective settings, always valid.</param>
/// <param name="Accepted">A document that yields exactly these settings; it is saved for the next start.</param>
/// <param name="Verdicts">One for each known key.</param>
/// <param name="UnknownKeys">A message for each unknown key, with the nearest known one.</param>
internal sealed record ParsedSettings(
    Settings Settings, JsonObject Accepted, IReadOnlyList<SettingVerdict> Verdicts, IReadOnlyList<string> UnknownKeys)
{
    /// <summary>Version of the desired properties; 0: none.</summary>
    public long Version { get; init; }
}

/// <summary>
/// Parses a document key by key. A valid value is taken; for an invalid one the last good value stays in force; a
/// missing or null one means the default. Never throws. Used by <see cref="SettingsStore"/>.
/// </summary>
internal sealed class SettingsParser(
    Settings defaults, bool hasIdentity, SensorsParser sensorsParser, HttpSinkOptions http)
{
    static readonly string[] KnownKeys =
        [.. SettingsTable.All.Select(definition => definition.Key), SettingsTable.SensorsKey];

    /// <param name="document">The whole document. Keys that begin with <c>$</c> are the hub's and are ignored.</param>
    /// <param name="lastGood"><see cref="ParsedSettings.Accepted"/> of the previous document.</param>
    /// <param name="rolledBack">The change that stays refused; null: none.</param>
    public ParsedSettings Parse(JsonObject document, JsonObject lastGood, RolledBack? rolledBack = null)
    {
        using var parsed = JsonDocument.Parse(document.ToJsonString());
        using var before = JsonDocument.Parse(lastGood.ToJsonString());
        var settings = defaults;
        var accepted = new JsonObject();
        var verdicts = new List<SettingVerdict>();
        foreach (var definition in SettingsTable.All)
        {
            var isDefault = !Has(parsed, definition.Key, out var value);
            var error = rolledBack?.Refuses(definition.Key) == true ? rolledBack.Reason : null;
            if (error is not null) isDefault = false;
            else if (!isDefault) error = TryTake(definition, value, accepted, ref settings);
            if (error is not null && Has(before, definition.Key, out var old))
                TryTake(definition, old, accepted, ref settings);
            verdicts.Add(new(definition.Key, definition.Shown(settings), error, isDefault)
            {
                Note = definition.Key == SettingsTable.HttpEndpointKey
                    ? http.Withheld(settings.Forwarding.HttpEndpoint)
                    : null,
            });
        }

        settings = ReadSensors(parsed, lastGood, settings, accepted, verdicts);
        settings = CheckSink(settings, lastGood, accepted, verdicts);
        return new(settings, accepted, verdicts, Unknown(parsed));
    }

    string? TryTake(SettingDefinition definition, JsonElement value, JsonObject accepted, ref Settings settings)
    {
        var (changed, problem) = definition.Set(settings, value);
        if (problem is null && definition.Key == SettingsTable.HttpEndpointKey)
            problem = http.Addresses.Objection(changed.Forwarding.HttpEndpoint!);
        if (problem is not null) return problem;
        settings = changed;
        accepted[definition.Key] = JsonNode.Parse(value.GetRawText());
        return null;
    }

    Settings ReadSensors(
        JsonDocument document, JsonObject lastGood, Settings settings, JsonObject accepted,
        List<SettingVerdict> verdicts)
    {
        string? error = null;
        var isDefault = !Has(document, SettingsTable.SensorsKey, out var map);
        var good = lastGood[SettingsTable.SensorsKey] as JsonObject;
        if (!isDefault && map.ValueKind != JsonValueKind.Object)
        {
            error = $"{LogText.Quote(map)} is not a map of name to {{\"kind\":..}}";
            map = good is null ? default : JsonElement.Parse(good.ToJsonString());
        }

        // The default sensor follows the poll interval of the document.
        var isGiven = map.ValueKind == JsonValueKind.Object;
        if (!isGiven) map = JsonElement.Parse($$"""{"host":{{SensorsParser.DefaultEntry}}}""");
        var sensors = sensorsParser.Read(
            map, isGiven ? good : null, settings.PollInterval, out var inForce, out var errors);
        if (errors.Count > 0) error ??= string.Join("; ", errors);
        if (isGiven) accepted[SettingsTable.SensorsKey] = inForce.DeepClone();
        verdicts.Add(new(SettingsTable.SensorsKey, inForce, error, isDefault));
        return settings with
        {
            Sensors = sensors.ToDictionary(
                sensor => sensor.Key, sensor => sensor.Value.WithStandardWindow(settings.AggregateWindow)),
        };
    }

    /// <summary>Refuses a sink that lacks its identity or endpoint, so that a mistake in the twin does not stop
    /// forwarding.</summary>
    Settings CheckSink(
        Settings settings, JsonObject lastGood, JsonObject accepted, List<SettingVerdict> verdicts)
    {
        var error = settings.Forwarding.Sink switch
        {
            SinkKind.IotHub when !hasIdentity =>
                "'iothub' needs an edge identity, and the environment has none (IOTEDGE_* or EdgeHubConnectionString)",
            SinkKind.Http when settings.Forwarding.HttpEndpoint is null && hasIdentity =>
                "'http' needs httpEndpoint",
            _ => null,
        };
        if (error is null) return settings;

        // With an identity, IoT Hub is always possible; without one, only HTTP is.
        var (sink, name) = hasIdentity ? (SinkKind.IotHub, "iothub") : (SinkKind.Http, "http");
        accepted.Remove("sink");
        if (JsonNode.DeepEquals(lastGood["sink"], name)) accepted["sink"] = name;
        var at = verdicts.FindIndex(verdict => verdict.Key == "sink");
        verdicts[at] = verdicts[at] with { Error = error, Value = name };
        return settings with { Forwarding = settings.Forwarding with { Sink = sink } };
    }

    static List<string> Unknown(JsonDocument document)
    {
        var messages = new List<string>();
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (property.Name.StartsWith('$') || KnownKeys.Contains(property.Name)) continue;
            var name = LogText.Name(property.Name);
            var nearest = NearestName.Find(property.Name, KnownKeys);
            var hint = nearest.IsNear ? nearest.Hint : $"; the nearest is {nearest.Name}";
            messages.Add($"{name}: there is no such setting{hint}");
        }

        return messages;
    }

    static bool Has(JsonDocument document, string key, out JsonElement value) =>
        document.RootElement.TryGetProperty(key, out value) && value.ValueKind != JsonValueKind.Null;
}
