using SensorForwarder.Readings;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Modbus;

namespace SensorForwarder.Operations.Doctor;

/// <summary>A sensor of the settings on a serial port or a Modbus connection.</summary>
/// <param name="Place">Its device in words: the port, or unit and connection.</param>
/// <param name="IsAnswering">Whether the device answered; null: it was not asked, since the running module reads it.
/// </param>
/// <param name="Outcome">What it answered, or why it did not.</param>
internal sealed record CheckedSensor(string Name, string Place, bool? IsAnswering, string Outcome);

/// <summary>
/// Reads sensors on serial ports and Modbus connections once, as the settings describe them, while no module reads
/// them. A scan would not find their devices: only the settings say where they are.
/// </summary>
internal static class SensorCheck
{
    // Less than the time that a hub waits for the answer of a direct method.
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(15);

    public static bool IsFor(SensorSettings sensor) => sensor.Kind.Connection is "serial" or "Modbus";

    /// <summary>What the running module reads.</summary>
    public static CheckedSensor Running(SensorSettings sensor) =>
        new(sensor.Name, PlaceOf(sensor), null, "read by the running module");

    /// <summary>Reads each sensor once; sensors on different connections in parallel.</summary>
    public static IReadOnlyList<CheckedSensor> Check(SensorWorld world, IReadOnlyCollection<SensorSettings> sensors)
    {
        // Does not share its connections with running sensors.
        var own = new SensorWorld(world.Roots, world.TimeProvider) { Dialer = world.Dialer };
        using var limit = new CancellationTokenSource(Limit, world.TimeProvider);
        return
        [
            .. AtOnce.Ask(
                [.. sensors.GroupBy(sensor => sensor.Kind.Bus(sensor))],
                connection => CheckConnection(own, [.. connection], limit.Token)).SelectMany(found => found),
        ];
    }

    static List<CheckedSensor> CheckConnection(
        SensorWorld world, IReadOnlyList<SensorSettings> sensors, CancellationToken limit)
    {
        var found = new List<CheckedSensor>();
        string? broken = null;
        foreach (var sensor in sensors)
        {
            var place = PlaceOf(sensor);
            if (broken is not null)
            {
                found.Add(new(sensor.Name, place, false, broken));
                continue;
            }

            try
            {
                using var made = sensor.Kind.Make(sensor, world);
                var measurement = made.MeasureAsync(limit).AsTask().GetAwaiter().GetResult();
                found.Add(new(sensor.Name, place, measurement.Quality != ReadingQuality.Bad, Describe(measurement)));
            }
            catch (SensorFault fault)
            {
                // A Modbus exception is also an answer.
                var isAnswer = fault.Reason is FaultReason.Refused or FaultReason.Invalid;
                found.Add(new(sensor.Name, place, isAnswer, $"{fault.Reason}: {fault.Message}"));
                if (fault.Reason is FaultReason.BusTimeout or FaultReason.Absent or FaultReason.Denied)
                    broken = $"not asked: {fault.Message}";
            }
            catch (OperationCanceledException)
            {
                broken = $"not asked: the check ends after {Limit.TotalSeconds:0} s";
                found.Add(new(sensor.Name, place, false, broken));
            }
        }

        return found;
    }

    static string PlaceOf(SensorSettings sensor) =>
        sensor.Kind.Connection == "Modbus" ? ModbusSensor.Describe(sensor) : sensor.Kind.Bus(sensor) ?? "";

    static string Describe(Measurement measurement)
    {
        var values = string.Join(", ", measurement.Values.Select(
            value => FormattableString.Invariant($"{value.Key} {value.Value}")));
        return measurement.Quality == ReadingQuality.Good
            ? values
            : $"{values} ({measurement.Reason}: {measurement.Detail})".TrimStart();
    }
}
