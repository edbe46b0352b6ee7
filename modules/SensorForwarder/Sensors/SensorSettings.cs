using System.Text.Json;
using SensorForwarder.Options;

namespace SensorForwarder.Sensors;

/// <summary>One entry of the <c>sensors</c> setting. If two records are equal, the sensor need not be
/// restarted.</summary>
/// <param name="Name">The key in the map: 1..64 characters.</param>
/// <param name="Interval">Time between two readings; positive.</param>
/// <param name="OptionsJson">The whole entry as JSON; <see cref="Option"/> reads it.</param>
internal sealed record SensorSettings(string Name, SensorKind Kind, TimeSpan Interval, string OptionsJson)
{
    public const int MaxNameLength = 64;

    /// <summary>False: it stays in the settings and is not read.</summary>
    public bool IsEnabled => Get(CommonOptions.Enabled);

    /// <summary>The window of a sensor without its own; zero: none. Set by <see cref="WithStandardWindow"/>.</summary>
    public TimeSpan StandardWindow { get; init; }

    /// <summary>The window in which its readings are aggregated; null: each one is stored. A sensor that is read at
    /// most once per window is not aggregated: that would only delay its readings.</summary>
    public TimeSpan? Window
    {
        get
        {
            if (!Kind.HasWindows) return null;
            var window = Get(CommonOptions.Aggregate) is { } seconds ? TimeSpan.FromSeconds(seconds) : StandardWindow;
            return window > Interval ? window : null;
        }
    }

    /// <summary>The settings with the module's window, unless that has no effect on them.</summary>
    public SensorSettings WithStandardWindow(TimeSpan window) =>
        Kind.HasWindows && window > Interval && Get(CommonOptions.Aggregate) is null
            ? this with { StandardWindow = window }
            : this;

    /// <summary>The value of an option of the kind, or its default.</summary>
    /// <exception cref="SensorSettingsException">The value is not allowed.</exception>
    public T Get<T>(Option<T> option)
    {
        using var json = JsonDocument.Parse(OptionsJson);
        return Get(option, json.RootElement);
    }

    /// <summary>The value of an option in an entry, or its default.</summary>
    /// <exception cref="SensorSettingsException">The value is not allowed.</exception>
    public static T Get<T>(Option<T> option, JsonElement entry)
    {
        entry.TryGetProperty(option.Name, out var value);
        return option.TryRead(value, out var result, out var problem)
            ? result
            : throw new SensorSettingsException($"{option.Name}: {problem}");
    }

    /// <summary>Reads an entry and checks everything that does not require the device.</summary>
    /// <param name="name">Its key in the map.</param>
    /// <param name="standardInterval">The interval of an entry without its own.</param>
    /// <exception cref="SensorSettingsException">The entry is invalid; the message names all faults.</exception>
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

/// <summary>The settings of a sensor are invalid; the message names the option, its value, and what is allowed.
/// </summary>
internal sealed class SensorSettingsException(string message) : Exception(message);
