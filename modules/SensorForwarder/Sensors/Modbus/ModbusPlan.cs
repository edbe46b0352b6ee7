namespace SensorForwarder.Sensors.Modbus;

/// <summary>Which requests read a number of values: those that are near one another are read together, since a request
/// costs a serial line as much time as a dozen registers. Pure.</summary>
internal static class ModbusPlan
{
    /// <summary>Registers or bits that are read though nobody wants them, between two that somebody wants.</summary>
    public const int MaxRegisterGap = 8, MaxBitGap = 128;

    /// <summary>The requests, each with the values that its answer holds.</summary>
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

    /// <param name="reading">One that begins where the value does, or before.</param>
    /// <param name="value">The value to read with it.</param>
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

/// <summary>A request, and the values that its answer holds.</summary>
internal sealed record ModbusReading(ModbusRequest Request, IReadOnlyList<ModbusValue> Values);
