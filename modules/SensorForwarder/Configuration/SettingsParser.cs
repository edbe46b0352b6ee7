using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Configuration;

/// <summary>What became of one key of a document.</summary>
/// <param name="Key">The key.</param>
/// <param name="Value">The value in force now.</param>
/// <param name="Error">Why the value in the document was refused; null when it is in force, or
/// when there was none.</param>
/// <param name="IsDefault">The document has no such key: the default is in force.</param>
internal sealed record SettingVerdict(string Key, JsonNode? Value, string? Error, bool IsDefault)
{
    /// <summary>What a person should know of a value that is in force; null: nothing.</summary>
    public string? Note { get; init; }
}

/// <summary>What became of a document.</summary>
/// <param name="Settings">The effective settings, always valid.</param>
/// <param name="Accepted">The document that would give just these settings: what survives a restart.</param>
/// <param name="Verdicts">One for each known key.</param>
/// <param name="UnknownKeys">Messages about keys that there are not, with the nearest that there is.</param>
internal sealed record ParsedSettings(
    Settings Settings, JsonObject Accepted, IReadOnlyList<SettingVerdict> Verdicts, IReadOnlyList<string> UnknownKeys)
{
    /// <summary>The version of the desired properties in it; 0 when there are none.</summary>
    public long Version { get; init; }
}

/// <summary>
/// Turns a document into settings, key by key: a good value is taken, a bad one keeps its last good value, a missing or
/// null one returns to the default. Never throws, whatever the document says.
/// </summary>
internal sealed class SettingsParser(
    Settings defaults, bool hasIdentity, SensorsParser sensorsParser, HttpSinkOptions http)
{
    static readonly string[] KnownKeys =
        [.. SettingsTable.All.Select(definition => definition.Key), SettingsTable.SensorsKey];

    /// <param name="document">The whole document. Keys that begin with <c>$</c> are the hub's
    /// and are passed over.</param>
    /// <param name="lastGood"><see cref="ParsedSettings.Accepted"/> of the time before.</param>
    /// <param name="rolledBack">What was taken before and did not work; null: nothing.</param>
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
            else if (!isDefault) TryTake(definition, value, accepted, ref settings, out error);
            if (error is not null && Has(before, definition.Key, out var old)) TryTake(
                definition, old, accepted, ref settings, out _);

            verdicts.Add(new(definition.Key, (definition.Shown ?? definition.Get)(settings), error, isDefault)
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

    void TryTake(
        SettingDefinition definition, JsonElement value, JsonObject accepted, ref Settings settings, out string? error)
    {
        try
        {
            var changed = definition.Set(settings, value);
            if (definition.Key == SettingsTable.HttpEndpointKey
                && http.Addresses.Objection(changed.Forwarding.HttpEndpoint!) is { } objection)
            {
                throw new SettingException(objection);
            }

            settings = changed;
            accepted[definition.Key] = JsonNode.Parse(value.GetRawText());
            error = null;
        }
        catch (SettingException exception)
        {
            error = exception.Message;
        }
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
            error = $"{SettingDefinition.Show(map)} is not a map of name to {{\"kind\":..}}";
            if (good is not null)
            {
                using var before = JsonDocument.Parse(good.ToJsonString());
                return ReadMap(before.RootElement, ref error);
            }
        }
        else if (!isDefault)
        {
            return ReadMap(map, ref error);
        }

        // The default sensor follows the poll interval of the document.
        using var standard = JsonDocument.Parse($$"""{"host":{{SensorsParser.DefaultEntry}}}""");
        var sensors = sensorsParser.Read(standard.RootElement, null, settings.PollInterval, out var inForce, out _);
        verdicts.Add(new(SettingsTable.SensorsKey, inForce, error, isDefault));
        return settings with { Sensors = sensors };

        Settings ReadMap(JsonElement entries, ref string? problem)
        {
            var read = sensorsParser.Read(entries, good, settings.PollInterval, out var inForce, out var errors);
            problem ??= errors.Count > 0 ? string.Join("; ", errors) : null;
            accepted[SettingsTable.SensorsKey] = inForce;
            verdicts.Add(new(SettingsTable.SensorsKey, inForce.DeepClone(), problem, isDefault));
            return settings with { Sensors = read };
        }
    }

    /// <summary>A sink that can't work as things stand is refused, so that a slip in the twin does not stop a module
    /// that forwards.</summary>
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

        // With an identity IoT Hub always works; without one only HTTP can.
        var sink = hasIdentity ? SinkKind.IotHub : SinkKind.Http;
        settings = settings with { Forwarding = settings.Forwarding with { Sink = sink } };
        accepted.Remove("sink");
        if (lastGood["sink"] is { } old && old.GetValueKind() == JsonValueKind.String
            && old.GetValue<string>() == (hasIdentity ? "iothub" : "http"))
        {
            accepted["sink"] = old.DeepClone();
        }

        var at = verdicts.FindIndex(verdict => verdict.Key == "sink");
        verdicts[at] = verdicts[at] with { Error = error, Value = hasIdentity ? "iothub" : "http" };
        return settings;
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
