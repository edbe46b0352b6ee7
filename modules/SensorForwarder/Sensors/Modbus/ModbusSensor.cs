using SensorForwarder.Options;
using SensorForwarder.Readings;
using SensorForwarder.Text;

namespace SensorForwarder.Sensors.Modbus;

/// <summary>
/// Kind <c>modbus</c>: registers and bits of one device, over TCP or on a serial line (RTU). Sensors with the same
/// connection share it. A value that can't be read does not fail the others. Used by the bus's thread only.
/// </summary>
internal sealed class ModbusSensor(SensorSettings settings, SensorWorld world) : ISensor
{
    // Exception codes: MODBUS Application Protocol 1.1b3, section 7.
    const byte IllegalAddress = 2, IllegalValue = 3, Acknowledge = 5, Busy = 6, NoPath = 10, NoTarget = 11;

    static readonly Option<int> Unit = Option.Integer(
        "unit", 0, 255, 1, "The device's unit, also called slave id; over TCP, gateways use it too.");

    public static SensorKind Kind { get; } = new(
        "modbus", "registers and bits of a Modbus device: TCP, or RTU on a serial port",
        [.. ModbusPlace.Options, Unit, ModbusValue.Map], (settings, world) => new ModbusSensor(settings, world))
    {
        Connection = "Modbus",
        ValuesOf = static settings =>
            [.. settings.Get(ModbusValue.Map).Select(value => new SensorValue(value.Name, value.Unit))],
        Bus = static settings => ModbusPlace.Of(settings).Name,
    };

    /// <summary>Unit and connection of the device, in words.</summary>
    public static string Describe(SensorSettings settings) =>
        $"unit {settings.Get(Unit)} at {ModbusPlace.Of(settings).Name}";

    readonly ModbusPlace _place = ModbusPlace.Of(settings);
    readonly IReadOnlyList<ModbusValue> _values = settings.Get(ModbusValue.Map);
    readonly byte _unit = (byte)settings.Get(Unit);
    List<ModbusReading> _plan = ModbusPlan.Make(settings.Get(ModbusValue.Map));
    ModbusConnection? _connection;

    public ValueTask<Measurement> MeasureAsync(CancellationToken cancellationToken)
    {
        var connection = _connection ??= world.Shared.Take(_place.Name, () => new ModbusConnection(_place, world));
        if (connection.Place.Format != _place.Format)
            throw new SensorFault(FaultReason.Ambiguous, $"{_place.Name} is used with {connection.Place.Format} by "
                + "another sensor: all sensors on a line need the same format");

        var numbers = new Dictionary<string, double>(StringComparer.Ordinal);
        var faults = new List<(ModbusValue Value, SensorFault Fault)>();
        var silences = 0;
        foreach (var reading in _plan.ToList())
        {
            try
            {
                if (IsSilent()) throw new SensorFault(FaultReason.Timeout, "not asked: the device did not answer");
                Read(connection, reading, numbers, faults, cancellationToken);
            }
            catch (SensorFault fault) when (fault.Reason is FaultReason.Timeout or FaultReason.Crc)
            {
                silences++;
                faults.AddRange(reading.Values.Select(value => (value, fault)));
            }
        }

        if (numbers.Count == 0) throw faults[0].Fault;
        var values = _values.Where(value => numbers.ContainsKey(value.Name))
            .Select(value => KeyValuePair.Create(value.Name, numbers[value.Name])).ToList();
        return ValueTask.FromResult(faults.Count == 0
            ? new Measurement(values)
            : new(values, ReadingQuality.Uncertain, FaultReason.Partial, Describe(faults)));

        // Some devices do not answer a request for a register that they lack; a device that is off answers none.
        bool IsSilent() => silences > (numbers.Count > 0 ? 1 : 0);
    }

    public void Dispose()
    {
        if (_connection is null) return;
        _connection = null;
        world.Shared.Release(_place.Name);
    }

    void Read(
        ModbusConnection connection, ModbusReading reading, Dictionary<string, double> numbers,
        List<(ModbusValue Value, SensorFault Fault)> faults, CancellationToken cancellationToken)
    {
        var answer = connection.Ask(_unit, reading.Request, cancellationToken);
        if (answer.Exception is IllegalAddress or IllegalValue && reading.Values.Count > 1)
        {
            // The device may lack one of the values or a register between them, or limit the length of a request.
            var singles = reading.Values.Select(ModbusPlan.Single).ToList();
            _plan = [.. _plan.Where(other => other != reading), .. singles];
            foreach (var single in singles) Read(connection, single, numbers, faults, cancellationToken);
            return;
        }

        foreach (var value in reading.Values)
        {
            if (answer.Exception is { } exception)
            {
                faults.Add((value, Fault(exception)));
                continue;
            }

            var number = value.Decode(answer.Data, reading.Request.Address);
            if (double.IsFinite(number)) numbers[value.Name] = number;
            else faults.Add((value, new(FaultReason.Invalid, "the device holds no finite number")));
        }
    }

    static SensorFault Fault(byte exception)
    {
        var (reason, text) = exception switch
        {
            IllegalAddress or IllegalValue => (FaultReason.Refused, "the device has no such address"),
            Acknowledge or Busy => (FaultReason.Busy, "the device is busy"),
            NoPath or NoTarget => (FaultReason.Timeout, "the gateway does not reach the device"),
            _ => (FaultReason.Refused, "the device refuses"),
        };
        return new(reason, $"{text} (exception {exception})");
    }

    static string Describe(List<(ModbusValue Value, SensorFault Fault)> faults)
    {
        const int MostShown = 3;
        var shown = faults.Take(MostShown).Select(fault => $"{LogText.Clean(fault.Value.Name)}: {fault.Fault.Message}");
        var rest = faults.Count > MostShown ? $"; {faults.Count - MostShown} more values can't be read" : "";
        return string.Join("; ", shown) + rest;
    }
}
