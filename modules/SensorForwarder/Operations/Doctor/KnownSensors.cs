using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Configuration;
using SensorForwarder.Files;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Doctor;

/// <summary>The sensors that the command line knows of.</summary>
/// <param name="Running">Those that a running module reads.</param>
/// <param name="Configured">Those of the settings file when no module runs.</param>
/// <param name="Problems">What is wrong with the other sensors of the same settings.</param>
internal sealed record KnownSensors(
    IReadOnlyCollection<SensorSettings> Running, IReadOnlyCollection<SensorSettings> Configured,
    IReadOnlyList<string> Problems)
{
    /// <summary>Asks the module that runs on this buffer; without one, reads the settings file.</summary>
    public static async Task<KnownSensors> FindAsync(
        BootOptions boot, SensorKinds kinds, SensorWorld world, CancellationToken stop)
    {
        var answer = await MethodSocket.AskAsync(boot, "getSettings", [], world.TimeProvider, stop);
        if (answer is not null)
        {
            var setting = answer["payload"]?["settings"]?["sensors"];
            var running = Read(kinds, world, setting?["value"], out var errors);
            if ((int?)setting?["ac"] is not (null or 200)) errors.Add((string?)setting?["ad"] ?? "refused");
            return new(running, [], errors);
        }

        if (boot.SettingsFile is not { } path) return new([], [], []);
        var document = ReadFile(path, out var problem);
        var configured = Read(kinds, world, document?["sensors"], out var problems);
        if (problem is not null) problems.Add($"{path}: {problem}");
        return new([], configured, problems);
    }

    /// <summary>The valid, enabled sensors of a map.</summary>
    static List<SensorSettings> Read(SensorKinds kinds, SensorWorld world, JsonNode? map, out List<string> errors)
    {
        errors = [];
        if (map is null) return [];
        using var json = JsonDocument.Parse(map.ToJsonString());
        if (map is not JsonObject)
        {
            errors.Add($"sensors: {LogText.Quote(json.RootElement)} is not a map of name to {{\"kind\":..}}");
            return [];
        }

        var sensors = new SensorsParser(kinds, world).Read(
            json.RootElement, lastGood: null, pollInterval: TimeSpan.FromSeconds(10), out _, out errors);
        return [.. sensors.Values.Where(sensor => sensor.IsEnabled)];
    }

    static JsonObject? ReadFile(string path, out string? problem)
    {
        try
        {
            using var file = RegularFile.OpenRead(path);
            problem = $"it has more than {SettingsFile.MaxBytes} bytes";
            if (file.Length > SettingsFile.MaxBytes) return null;
            using var bytes = new MemoryStream();
            file.CopyTo(bytes);
            return DocumentReader.Read(bytes.ToArray(), out problem);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            problem = LogText.Clean(exception.Message);
            return null;
        }
    }
}
