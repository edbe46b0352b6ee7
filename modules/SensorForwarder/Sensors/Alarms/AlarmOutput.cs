using System.Text.Json;
using SensorForwarder.Options;
using SensorForwarder.Sensors.Kernel;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors.Alarms;

/// <summary>A GPIO line that shows an alarm. Alarms with equal outputs share the line. Immutable.</summary>
/// <param name="Chip">See <see cref="GpioPlace.Chip"/>.</param>
/// <param name="Line">See <see cref="GpioPlace.Line"/>.</param>
/// <param name="IsActiveLow">See <see cref="GpioPlace.ActiveLow"/>.</param>
internal sealed record AlarmOutput(string? Chip, string Line, bool IsActiveLow)
{
    public static IReadOnlyList<Option> Options { get; } = [GpioPlace.Chip, GpioPlace.Line, GpioPlace.ActiveLow];

    public GpioPlace Place => new(Chip, Line);

    public GpioRequest Request(bool isActive) => new(
        GpioRequest.Output | (IsActiveLow ? GpioRequest.ActiveLow : 0), TimeSpan.Zero)
    {
        IsActive = isActive,
    };

    public static bool TryRead(JsonElement value, out AlarmOutput? output)
    {
        var isValid = FindFault(value) is null;
        output = isValid
            ? new(
                SensorSettings.Get(GpioPlace.Chip, value), SensorSettings.Get(GpioPlace.Line, value)!,
                SensorSettings.Get(GpioPlace.ActiveLow, value))
            : null;
        return isValid;
    }

    public static string? FindFault(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Object)
            return $"{LogText.Quote(value)} is not an object such as {{\"line\":\"GPIO17\"}}";
        var problems = Option.FindFaults(Options, value, "an output");
        return problems.Count > 0 ? string.Join(", ", problems) : null;
    }
}
