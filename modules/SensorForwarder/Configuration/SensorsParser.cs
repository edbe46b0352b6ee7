using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Configuration;

/// <summary>
/// Parses the <c>sensors</c> map entry by entry. For an invalid entry the last good one stays in force; the other
/// entries are not affected. Used by <see cref="SettingsParser"/>.
/// </summary>
internal sealed class SensorsParser(SensorKinds kinds, SensorWorld world)
{
    public const double MinIntervalSeconds = 0.01;
    public const int MaxSensors = 500;
    public const string DefaultEntry = """{"kind":"host"}""";

    // Characters that IoT Hub forbids in keys, and those that JSON would have to escape.
    static readonly SearchValues<char> ForbiddenInNames = SearchValues.Create(" .$#\"\\");

    /// <summary>Reads the map.</summary>
    /// <param name="map">The value of <c>sensors</c>.</param>
    /// <param name="lastGood">The entries accepted before; null: none.</param>
    /// <param name="pollInterval">Interval of sensors without their own.</param>
    /// <param name="accepted">The entries in force now, in the form of a document.</param>
    /// <param name="errors">One line for each refused entry.</param>
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
                errors.Add($"more than {MaxSensors} sensors: the rest is ignored");
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
            return null; // an older version accepted it, or another sensor now has its address
        }
    }

    /// <param name="owners">The sensors by the exclusive resource that each uses, such as an address; the new sensor is
    /// added.</param>
    SensorSettings ReadEntry(string name, JsonElement entry, TimeSpan pollInterval, Dictionary<string, string> owners)
    {
        if (!IsName(name))
            throw new SensorSettingsException(
                $"a name has 1 to {SensorSettings.MaxNameLength} characters, and no space . $ # \" \\");
        if (entry.ValueKind != JsonValueKind.Object)
            throw new SensorSettingsException($"{LogText.Quote(entry)} is not an object such as {DefaultEntry}");
        var settings = SensorSettings.Read(kinds, name, entry, pollInterval);
        settings.Kind.Make(settings, world).Dispose(); // throws if the driver refuses the options
        if (settings.IsEnabled && settings.Kind.Claims(settings) is { } claim
            && !owners.TryAdd(claim, name))
            throw new SensorSettingsException($"{claim} is already used by sensor {owners[claim]}");
        return settings;
    }
}
