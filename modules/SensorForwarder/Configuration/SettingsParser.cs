using System.Text.Json;
using System.Text.Json.Nodes;

namespace SensorForwarder.Configuration;

/// <summary>What became of one key of a document.</summary>
/// <param name="Key">The key.</param>
/// <param name="Value">The value in force now.</param>
/// <param name="Error">Why the value in the document was refused; null when it is in force, or when there was none.</param>
/// <param name="IsDefault">The document has no such key: the default is in force.</param>
internal sealed record SettingVerdict(string Key, JsonNode? Value, string? Error, bool IsDefault);

/// <summary>What became of a document.</summary>
/// <param name="Settings">The effective settings, always valid.</param>
/// <param name="Accepted">The document that would give just these settings: what survives a restart.</param>
/// <param name="Verdicts">One for each known key.</param>
/// <param name="UnknownKeys">Messages about keys that there are not, with the nearest that there is.</param>
internal sealed record ParsedSettings(
    Settings Settings, JsonObject Accepted, IReadOnlyList<SettingVerdict> Verdicts, IReadOnlyList<string> UnknownKeys);

/// <summary>
/// Turns a document into settings, key by key: a good value is taken, a bad one keeps its last good value, a missing or
/// null one returns to the default. Never throws, whatever the document says.
/// </summary>
internal sealed class SettingsParser(Settings defaults, bool hasIdentity, SensorsParser sensorsParser)
{
    /// <param name="document">The whole document. Keys that begin with <c>$</c> are the hub's and are passed over.</param>
    /// <param name="lastGood"><see cref="ParsedSettings.Accepted"/> of the time before.</param>
    public ParsedSettings Parse(JsonObject document, JsonObject lastGood)
    {
        using var parsed = JsonDocument.Parse(document.ToJsonString());
        using var before = JsonDocument.Parse(lastGood.ToJsonString());
        var settings = defaults;
        var accepted = new JsonObject();
        var verdicts = new List<SettingVerdict>();
        foreach (var definition in SettingsTable.All)
        {
            string? error = null;
            var isDefault = !Has(parsed, definition.Key, out var value);
            if (!isDefault && !TryTake(definition, value, accepted, ref settings, out error)
                && Has(before, definition.Key, out var old))
            {
                TryTake(definition, old, accepted, ref settings, out _);
            }

            verdicts.Add(new(definition.Key, definition.Get(settings), error, isDefault));
        }

        settings = ReadSensors(parsed, lastGood, settings, accepted, verdicts);
        settings = CheckSink(settings, lastGood, accepted, verdicts);
        return new(settings, accepted, verdicts, Unknown(parsed));
    }

    static bool TryTake(
        SettingDefinition definition, JsonElement value, JsonObject accepted, ref Settings settings, out string? error)
    {
        try
        {
            settings = definition.Set(settings, value);
            accepted[definition.Key] = JsonNode.Parse(value.GetRawText());
            error = null;
            return true;
        }
        catch (SettingException exception)
        {
            error = exception.Message;
            return false;
        }
    }

    Settings ReadSensors(
        JsonDocument document, JsonObject lastGood, Settings settings, JsonObject accepted, List<SettingVerdict> verdicts)
    {
        string? error = null;
        var isDefault = !Has(document, SettingsTable.SensorsKey, out var map);
        var good = lastGood[SettingsTable.SensorsKey] as JsonObject;
        if (!isDefault && map.ValueKind != JsonValueKind.Object)
        {
            error = $"{SettingsTable.Show(map)} is not a map of name to {{\"kind\":..}}";
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
            Forwarding.SinkKind.IotHub when !hasIdentity =>
                "'iothub' needs an edge identity, and the environment has none (IOTEDGE_* or EdgeHubConnectionString)",
            Forwarding.SinkKind.Http when settings.Forwarding.HttpEndpoint is null && hasIdentity =>
                "'http' needs httpEndpoint",
            _ => null,
        };
        if (error is null) return settings;

        // With an identity IoT Hub always works; without one only HTTP can.
        var sink = hasIdentity ? Forwarding.SinkKind.IotHub : Forwarding.SinkKind.Http;
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
        var known = SettingsTable.All.Select(definition => definition.Key).Append(SettingsTable.SensorsKey).ToArray();
        var messages = new List<string>();
        foreach (var property in document.RootElement.EnumerateObject())
        {
            if (property.Name.StartsWith('$') || known.Contains(property.Name)) continue;
            var name = LogText.Clean(property.Name);
            var nearest = known.MinBy(key => Distance(key, property.Name))!;
            messages.Add(Distance(nearest, property.Name) <= Math.Max(2, nearest.Length / 3)
                ? $"{name}: there is no such setting; did you mean {nearest}?"
                : $"{name}: there is no such setting");
        }

        return messages;
    }

    static bool Has(JsonDocument document, string key, out JsonElement value) =>
        document.RootElement.TryGetProperty(key, out value) && value.ValueKind != JsonValueKind.Null;

    /// <summary>Edits between two names, case left aside (Levenshtein).</summary>
    static int Distance(string a, string b)
    {
        if (b.Length > 64) return int.MaxValue;
        var row = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var same = char.ToLowerInvariant(a[i - 1]) == char.ToLowerInvariant(b[j - 1]);
                var cost = Math.Min(Math.Min(row[j], row[j - 1]) + 1, diagonal + (same ? 0 : 1));
                diagonal = row[j];
                row[j] = cost;
            }
        }

        return row[b.Length];
    }
}
