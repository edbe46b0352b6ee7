using System.Text.Json;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors;

/// <summary>A GPIO line that shows an alarm. Alarms with equal outputs share the line. Immutable.</summary>
/// <param name="Chip">See <see cref="GpioOptions.Chip"/>.</param>
/// <param name="Line">See <see cref="GpioOptions.Line"/>.</param>
/// <param name="IsActiveLow">See <see cref="GpioOptions.ActiveLow"/>.</param>
internal sealed record AlarmOutput(string? Chip, string Line, bool IsActiveLow)
{
    public static IReadOnlyList<Option> Options { get; } = [GpioOptions.Chip, GpioOptions.Line, GpioOptions.ActiveLow];

    public override string ToString() => Chip is null ? $"line {Line}" : $"line {Line} of {Chip}";

    public static bool TryRead(JsonElement value, out AlarmOutput? output)
    {
        var isValid = FindFault(value) is null;
        output = isValid
            ? new(
                SensorSettings.Get(GpioOptions.Chip, value), SensorSettings.Get(GpioOptions.Line, value)!,
                SensorSettings.Get(GpioOptions.ActiveLow, value))
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

/// <summary>A GPIO line that was taken as an output.</summary>
/// <param name="Set">Makes it active or inactive; throws when the chip is gone.</param>
/// <param name="Taken">Disposing releases the line.</param>
internal sealed record OutputLine(Action<bool> Set, IDisposable Taken);
