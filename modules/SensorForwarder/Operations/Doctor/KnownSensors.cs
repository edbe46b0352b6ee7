using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Files;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations.Doctor;

/// <summary>The sensors that the command line knows of.</summary>
/// <param name="Running">Those that a running module reads.</param>
/// <param name="Configured">Those of the settings file when no module runs.</param>
internal sealed record KnownSensors(
    IReadOnlyCollection<SensorSettings> Running, IReadOnlyCollection<SensorSettings> Configured)
{
    /// <summary>Asks the module that runs on this buffer; without one, reads the settings file.</summary>
    public static async Task<KnownSensors> FindAsync(
        BootOptions boot, SensorKinds kinds, SensorWorld world, CancellationToken stop)
    {
        var answer = await MethodSocket.AskAsync(boot, "getSettings", [], world.TimeProvider, stop);
        if (answer is not null)
            return new(Read(kinds, world, answer["payload"]?["settings"]?["sensors"]?["value"]), []);
        return new([], boot.SettingsFile is { } path ? Read(kinds, world, ReadFile(path)?["sensors"]) : []);
    }

    /// <summary>The valid, enabled sensors of a map; the module reports what is wrong with others.</summary>
    static List<SensorSettings> Read(SensorKinds kinds, SensorWorld world, JsonNode? map)
    {
        if (map is not JsonObject) return [];
        using var json = JsonDocument.Parse(map.ToJsonString());
        var sensors = new SensorsParser(kinds, world).Read(
            json.RootElement, lastGood: null, pollInterval: TimeSpan.FromSeconds(10), out _, out _);
        return [.. sensors.Values.Where(sensor => sensor.IsEnabled)];
    }

    static JsonObject? ReadFile(string path)
    {
        try
        {
            using var file = RegularFile.OpenRead(path);
            if (file.Length > SettingsFile.MaxBytes) return null; // the module takes none of it either
            using var bytes = new MemoryStream();
            file.CopyTo(bytes);
            return DocumentReader.Read(bytes.ToArray(), out _);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
