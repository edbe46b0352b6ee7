using System.Text.Json;

namespace SensorForwarder.Sensors;

/// <summary>One entry of the <c>sensors</c> setting. Two equal records mean that nothing has to be restarted.</summary>
/// <param name="Name">The key in the map: 1..64 characters.</param>
/// <param name="Kind">One of <see cref="SensorFactory.Kinds"/>.</param>
/// <param name="Interval">Time between two readings; positive.</param>
/// <param name="OptionsJson">The whole entry as JSON, for what only its kind understands.</param>
internal sealed record SensorSettings(string Name, string Kind, TimeSpan Interval, string OptionsJson)
{
    public const int MaxNameLength = 64;

    /// <summary>An integer option of the kind.</summary>
    /// <exception cref="SensorSettingsException">It is there, but not an integer.</exception>
    public int? Integer(string option)
    {
        using var json = JsonDocument.Parse(OptionsJson);
        if (!json.RootElement.TryGetProperty(option, out var value) || value.ValueKind == JsonValueKind.Null) return null;
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var number)
            ? number
            : throw new SensorSettingsException(
                $"{option}: {LogText.Clean(value.GetRawText())} is not an integer from {int.MinValue} to {int.MaxValue}");
    }
}

/// <summary>A sensor can't be made from its settings; the message says which option, its value, and what is allowed.
/// </summary>
internal sealed class SensorSettingsException(string message) : Exception(message);
