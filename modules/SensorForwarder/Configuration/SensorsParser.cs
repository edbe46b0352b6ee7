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
        var owners = new Dictionary<string, string>(StringComparer.Ordinal);
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
                sensors[entry.Name] = ReadEntry(entry.Name, entry.Value, pollInterval, owners);
                accepted[entry.Name] = JsonNode.Parse(entry.Value.GetRawText());
            }
            catch (SensorSettingsException exception)
            {
                var name = IsName(entry.Name) ? LogText.Clean(entry.Name) : LogText.Name(entry.Name);
                errors.Add($"{name}: {exception.Message}");
                if (lastGood?[entry.Name] is { } before
                    && TryReadBefore(entry.Name, before, pollInterval, owners) is { } settings)
                {
                    sensors[entry.Name] = settings;
                    accepted[entry.Name] = before.DeepClone();
                }
            }
        }

        return sensors;
    }

    static bool IsName(string name) => name.Length is > 0 and <= SensorSettings.MaxNameLength
        && !name.AsSpan().ContainsAny(ForbiddenInNames) && !name.Any(char.IsControl);

    SensorSettings? TryReadBefore(
        string name, JsonNode before, TimeSpan pollInterval, Dictionary<string, string> owners)
    {
        try
        {
            using var json = JsonDocument.Parse(before.ToJsonString());
            return ReadEntry(name, json.RootElement, pollInterval, owners);
        }
        catch (SensorSettingsException)
        {
            return null; // accepted by an older version, or another sensor has its address now
        }
    }

    /// <param name="owners">Which sensor has what only one can have; the new one is added.</param>
    SensorSettings ReadEntry(string name, JsonElement entry, TimeSpan pollInterval, Dictionary<string, string> owners)
    {
        if (!IsName(name))
            throw new SensorSettingsException(
                $"a name has 1 to {SensorSettings.MaxNameLength} characters, and no space . $ # \" \\");
        if (entry.ValueKind != JsonValueKind.Object)
            throw new SensorSettingsException($"{SensorOption.Show(entry)} is not an object such as {DefaultEntry}");
        var settings = SensorSettings.Read(name, entry, pollInterval);
        factory.Create(settings).Dispose(); // says what else is wrong
        if (settings.IsEnabled && SensorKinds.Find(settings.Kind).Claims(settings) is { } claim
            && !owners.TryAdd(claim, name))
            throw new SensorSettingsException($"{claim} is that of sensor {owners[claim]} already");
        return settings;
    }
}
