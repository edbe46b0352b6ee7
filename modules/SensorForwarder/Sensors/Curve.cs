using System.Text.Json;
using System.Text.Json.Nodes;
using SensorForwarder.Options;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors;

/// <summary>
/// A calibration curve: straight lines between points, extended beyond the first and last point. Without the extension,
/// an open thermistor or an overflowing tank would look like a normal value. With it, a value slightly beyond the
/// points is right, and one far beyond them is implausible, which <c>min</c> and <c>max</c> report. Immutable.
/// </summary>
internal readonly struct Curve
{
    public const int MaxPoints = 64;

    readonly double[] _raw; // ascending
    readonly double[] _values;

    Curve(double[] raw, double[] values) => (_raw, _values) = (raw, values);

    public double At(double raw)
    {
        var at = Array.BinarySearch(_raw, raw);
        if (at >= 0) return _values[at];
        var right = Math.Clamp(~at, 1, _raw.Length - 1);
        var share = (raw - _raw[right - 1]) / (_raw[right] - _raw[right - 1]);
        return _values[right - 1] + (share * (_values[right] - _values[right - 1]));
    }

    public JsonNode ToJson() => new JsonArray(
        [.. _raw.Zip(_values, (raw, value) => (JsonNode)new JsonArray((JsonNode)raw, (JsonNode)value))]);

    public static bool TryRead(JsonElement value, out Curve result)
    {
        result = default;
        if (value.ValueKind != JsonValueKind.Array || Objection(value) is not null) return false;
        var points = value.EnumerateArray().Select(point => (Raw: point[0].GetDouble(), Value: point[1].GetDouble()))
            .OrderBy(point => point.Raw).ToList();
        result = new([.. points.Select(point => point.Raw)], [.. points.Select(point => point.Value)]);
        return true;
    }

    /// <summary>Says which point of a list is wrong, for one curve or a map of curves; null: none, or not a list.
    /// </summary>
    public static string? Fault(JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Array) return Objection(value);
        if (value.ValueKind != JsonValueKind.Object) return null;
        foreach (var curve in value.EnumerateObject())
        {
            if (curve.Value.ValueKind == JsonValueKind.Array && Objection(curve.Value) is { } objection)
                return $"{LogText.Name(curve.Name)}: {objection}";
        }

        return null;
    }

    static string? Objection(JsonElement list)
    {
        if (list.GetArrayLength() is var count && count is < 2 or > MaxPoints)
            return $"it has {count} points; allowed are 2 to {MaxPoints}";
        var seen = new HashSet<double>();
        foreach (var point in list.EnumerateArray())
        {
            if (point.ValueKind != JsonValueKind.Array || point.GetArrayLength() != 2
                || !Option.TryNumber(point[0], -CommonOptions.Huge, CommonOptions.Huge, out var raw)
                || !Option.TryNumber(point[1], -CommonOptions.Huge, CommonOptions.Huge, out _))
                return $"{LogText.Quote(point)} is not a point; a point is [raw, value], two numbers";
            if (!seen.Add(raw))
                return FormattableString.Invariant(
                    $"two points have the raw value {raw}; each raw value has one value");
        }

        return null;
    }
}
