namespace SensorForwarder.Sensors.Modbus;

/// <summary>Plans the requests for a set of values. Neighbouring values share a request, since the overhead of a
/// request on a serial line equals about a dozen registers. Pure.</summary>
internal static class ModbusPlan
{
    /// <summary>The largest number of unused registers or bits to read between two values.</summary>
    public const int MaxRegisterGap = 8, MaxBitGap = 128;

    /// <summary>Returns the requests with the values that each reads.</summary>
    public static List<ModbusReading> Make(IEnumerable<ModbusValue> values)
    {
        var readings = new List<ModbusReading>();
        foreach (var value in values.OrderBy(value => value.Table).ThenBy(value => value.Address))
        {
            if (readings.Count > 0 && TryJoin(readings[^1], value) is { } longer) readings[^1] = longer;
            else readings.Add(Single(value));
        }

        return readings;
    }

    /// <summary>A request for one value only.</summary>
    public static ModbusReading Single(ModbusValue value) =>
        new(new(value.Table, value.Address, value.Count), [value]);

    /// <param name="reading">A request that begins at or before the value.</param>
    static ModbusReading? TryJoin(ModbusReading reading, ModbusValue value)
    {
        var request = reading.Request;
        if (value.Table != request.Table) return null;
        var (end, most, gap) = (
            request.Address + request.Count,
            value.IsBit ? ModbusRequest.MaxBits : ModbusRequest.MaxRegisters,
            value.IsBit ? MaxBitGap : MaxRegisterGap);
        var count = Math.Max(end, value.Address + value.Count) - request.Address;
        return value.Address - end > gap || count > most
            ? null
            : new(request with { Count = count }, [.. reading.Values, value]);
    }
}

/// <summary>A request and the values that its answer contains.</summary>
internal sealed record ModbusReading(ModbusRequest Request, IReadOnlyList<ModbusValue> Values);
