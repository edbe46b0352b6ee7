using System.Text.Json;
using SensorForwarder.Sensors.Drivers;

namespace SensorForwarder.Sensors;

/// <summary>One kind of sensor: everything that parser, documentation and JSON Schema know about it.</summary>
/// <param name="Name">As it stands in the settings.</param>
/// <param name="Text">What it reads, for people.</param>
/// <param name="Options">Those of its own, besides <see cref="CommonOptions"/>.</param>
/// <param name="Make">Makes a sensor from valid settings; touches no device yet.</param>
internal sealed record SensorKind(
    string Name, string Text, IReadOnlyList<SensorOption> Options, Func<SensorSettings, SensorWorld, ISensor> Make)
{
    const string KindKey = "kind";

    /// <summary>The values that it publishes, with their units; empty when that depends on the device.</summary>
    public IReadOnlyList<SensorValue> Values { get; init; } = [];

    /// <summary>What only one sensor can have, in words, such as an address on a bus; null: nothing.</summary>
    public Func<SensorSettings, string?> Claims { get; init; } = static _ => null;

    /// <summary>The bus that it blocks while it measures: sensors of one bus take turns on one thread. Null: it never
    /// blocks.</summary>
    public Func<SensorSettings, string?> Bus { get; init; } = static settings => $"{settings.Kind} {settings.Name}";

    /// <summary>Where a chip of this kind can be on an I2C bus; empty when it is none.</summary>
    public IReadOnlyList<int> I2cAddresses { get; init; } = [];

    /// <summary>How the doctor recognises it on an I2C bus.</summary>
    public I2cProbe? Probe { get; init; }

    /// <summary>It can be measured several times for one reading. Not so where each measurement takes something away,
    /// such as an edge that it tells.</summary>
    public bool HasSamples { get; init; } = true;

    public IEnumerable<SensorOption> AllOptions =>
        CommonOptions.All.Where(option => HasSamples || option != CommonOptions.Samples).Concat(Options);

    /// <summary>Finds everything that is wrong with an entry: options that there are not, and values that are not
    /// allowed.</summary>
    /// <exception cref="SensorSettingsException">Something is; the message names all of it.</exception>
    public void Check(JsonElement entry)
    {
        var problems = new List<string>();
        var byName = AllOptions.ToDictionary(option => option.Name);
        foreach (var property in entry.EnumerateObject())
        {
            if (property.Name == KindKey) continue;
            if (byName.TryGetValue(property.Name, out var option)) Try(() => option.Check(property.Value));
            else problems.Add(Unknown(property.Name, byName.Keys));
        }

        foreach (var option in Options.Where(option => option.IsRequired))
        {
            if (!entry.TryGetProperty(option.Name, out var value) || value.ValueKind == JsonValueKind.Null)
                problems.Add($"{option.Name} is missing; it is {option.Shape.Allowed}");
        }

        if (problems.Count == 0) CheckValueNames(entry, problems);
        if (problems.Count > 0) throw new SensorSettingsException(string.Join(", ", problems));

        void Try(Action check)
        {
            try
            {
                check();
            }
            catch (SensorSettingsException exception)
            {
                problems.Add(exception.Message);
            }
        }
    }

    void CheckValueNames(JsonElement entry, List<string> problems)
    {
        if (Values.Count == 0) return;
        var names = Values.Select(value => value.Name).ToList();
        foreach (var option in (
            SensorOption<NumberByValue?>[])[CommonOptions.Scale, CommonOptions.Offset, CommonOptions.Deadband])
        {
            foreach (var name in option.Read(entry)?.Names ?? [])
            {
                if (names.Contains(name)) continue;
                var nearest = NearestName.Find(name, names);
                problems.Add($"{option.Name}: {Name} has no value {LogText.Quote(name)}"
                    + (nearest.IsNear ? nearest.Hint : $"; it has {string.Join(", ", names)}"));
            }
        }
    }

    string Unknown(string written, IReadOnlyCollection<string> known)
    {
        var name = LogText.Name(written);
        var nearest = NearestName.Find(written, known);
        var hint = nearest.IsNear ? nearest.Hint : $"; {Name} has {string.Join(", ", known)}";
        return $"{name}: there is no such option{hint}";
    }
}

/// <summary>A value that a kind publishes.</summary>
/// <param name="Name">Its name in readings.</param>
/// <param name="Unit">Its unit, in words.</param>
internal sealed record SensorValue(string Name, string Unit);
