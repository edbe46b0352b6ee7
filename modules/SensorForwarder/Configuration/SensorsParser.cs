using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Sensors;

namespace SensorForwarder.Configuration;

/// <summary>
/// Reads the <c>sensors</c> map entry by entry: one that can't work is refused by itself and keeps its last good form,
/// the others run.
/// </summary>
internal sealed class SensorsParser(SensorFactory factory)
{
    public const double MinIntervalSeconds = 0.01;
    public const double MaxIntervalSeconds = 86_400;
    public const int MaxSensors = 500;
    public const string DefaultEntry = """{"kind":"host"}""";

    // What the hub does not allow in keys, and what would need escaping.
    static readonly SearchValues<char> ForbiddenInNames = SearchValues.Create(" .$#\"\\");

    /// <summary>Reads the map.</summary>
    /// <param name="map">The value of <c>sensors</c>.</param>
    /// <param name="lastGood">What was accepted before, or null.</param>
    /// <param name="pollInterval">Interval of those that name none.</param>
    /// <param name="accepted">What is in force now, as it would stand in a document.</param>
    /// <param name="errors">One line for each entry that was refused.</param>
    public IReadOnlyDictionary<string, SensorSettings> Read(
        JsonElement map, JsonObject? lastGood, TimeSpan pollInterval, out JsonObject accepted, out List<string> errors)
    {
        accepted = [];
        errors = [];
        var sensors = new Dictionary<string, SensorSettings>(StringComparer.Ordinal);
        foreach (var entry in map.EnumerateObject())
        {
            if (entry.Value.ValueKind == JsonValueKind.Null) continue;
            if (sensors.Count == MaxSensors)
            {
                errors.Add($"more than {MaxSensors} sensors: the rest is left out");
                break;
            }

            try
            {
                sensors[entry.Name] = ReadEntry(entry.Name, entry.Value, pollInterval);
                accepted[entry.Name] = JsonNode.Parse(entry.Value.GetRawText());
            }
            catch (Exception exception) when (exception is SettingException or SensorSettingsException)
            {
                errors.Add($"{LogText.Clean(entry.Name)}: {exception.Message}");
                if (lastGood?[entry.Name] is { } before && TryReadBefore(entry.Name, before, pollInterval) is { } settings)
                {
                    sensors[entry.Name] = settings;
                    accepted[entry.Name] = before.DeepClone();
                }
            }
        }

        return sensors;
    }

    SensorSettings? TryReadBefore(string name, JsonNode before, TimeSpan pollInterval)
    {
        try
        {
            using var json = JsonDocument.Parse(before.ToJsonString());
            return ReadEntry(name, json.RootElement, pollInterval);
        }
        catch (Exception exception) when (exception is SettingException or SensorSettingsException)
        {
            return null; // accepted by an older version
        }
    }

    SensorSettings ReadEntry(string name, JsonElement entry, TimeSpan pollInterval)
    {
        if (name.Length is 0 or > SensorSettings.MaxNameLength || name.AsSpan().ContainsAny(ForbiddenInNames) || name.Any(char.IsControl))
            throw new SettingException($"a name has 1 to {SensorSettings.MaxNameLength} characters, and no space . $ # \" \\");
        if (entry.ValueKind != JsonValueKind.Object)
            throw new SettingException($"{SettingDefinition.Show(entry)} is not an object such as {DefaultEntry}");
        if (!entry.TryGetProperty("kind", out var kind) || kind.ValueKind != JsonValueKind.String)
            throw new SettingException($"kind is missing; it is one of {string.Join(", ", SensorFactory.Kinds)}");

        var interval = pollInterval;
        if (entry.TryGetProperty("intervalSeconds", out var seconds) && seconds.ValueKind != JsonValueKind.Null)
        {
            interval = TimeSpan.FromSeconds(SettingDefinition.ReadNumber(
                seconds, MinIntervalSeconds, MaxIntervalSeconds,
                $"intervalSeconds from {MinIntervalSeconds} to {MaxIntervalSeconds}"));
        }

        var settings = new SensorSettings(name, kind.GetString()!, interval, entry.GetRawText());
        factory.Create(settings).Dispose(); // says what else is wrong
        return settings;
    }
}
