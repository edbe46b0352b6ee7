using System.Text.Json;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors;

/// <summary>One entry of the <c>sensors</c> setting. Two equal records mean that nothing has to be restarted.</summary>
/// <param name="Name">The key in the map: 1..64 characters.</param>
/// <param name="Kind">What is read, and how.</param>
/// <param name="Interval">Time between two readings; positive.</param>
/// <param name="OptionsJson">The whole entry as JSON; <see cref="Option"/> reads it.</param>
internal sealed record SensorSettings(string Name, SensorKind Kind, TimeSpan Interval, string OptionsJson)
{
    public const int MaxNameLength = 64;

    /// <summary>It is read; otherwise it only stands in the settings.</summary>
    public bool IsEnabled => Get(CommonOptions.Enabled);

    /// <summary>The value of an option of the kind, or its default.</summary>
    /// <exception cref="SensorSettingsException">It is there and not allowed.</exception>
    public T Get<T>(Option<T> option)
    {
        using var json = JsonDocument.Parse(OptionsJson);
        return Get(option, json.RootElement);
    }

    /// <summary>The value of an option in an entry, or its default.</summary>
    /// <exception cref="SensorSettingsException">It is there and not allowed.</exception>
    public static T Get<T>(Option<T> option, JsonElement entry)
    {
        entry.TryGetProperty(option.Name, out var value);
        return option.TryRead(value, out var result, out var problem)
            ? result
            : throw new SensorSettingsException($"{option.Name}: {problem}");
    }

    /// <summary>Reads an entry and checks all that can be known without a device.</summary>
    /// <param name="kinds">Those that there are.</param>
    /// <param name="name">Its key in the map.</param>
    /// <param name="entry">An object.</param>
    /// <param name="standardInterval">Its interval when it names none.</param>
    /// <exception cref="SensorSettingsException">It can't work; the message says everything that is wrong.</exception>
    public static SensorSettings Read(SensorKinds kinds, string name, JsonElement entry, TimeSpan standardInterval)
    {
        if (!entry.TryGetProperty("kind", out var kind) || kind.ValueKind != JsonValueKind.String)
            throw new SensorSettingsException($"kind is missing; it is one of {string.Join(", ", kinds.Names)}");
        var description = kinds.Find(kind.GetString()!);
        description.Check(entry);
        var interval = Get(CommonOptions.Interval, entry) is { } seconds
            ? TimeSpan.FromSeconds(seconds)
            : standardInterval;
        return new(name, description, interval, entry.GetRawText());
    }
}

/// <summary>A sensor can't be made from its settings; the message says which option, its value, and what is allowed.
/// </summary>
internal sealed class SensorSettingsException(string message) : Exception(message);
