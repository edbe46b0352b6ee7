using System.Globalization;
using System.Text;
using SensorForwarder.Buffer;

namespace SensorForwarder.Sensors;

/// <summary>
/// What counters have counted since they were first set up, by the sensor's name. Kept in the buffer's database: a
/// total goes with the commit that comes next and costs none of its own, so that a power cut costs the pulses of one
/// commit interval; and it is never committed after a reading that tells it. Thread-safe.
/// </summary>
/// <param name="buffer">Null: they are forgotten when the process ends.</param>
internal sealed class PulseTotals(TelemetryBuffer? buffer)
{
    readonly Lock _gate = new();
    readonly Dictionary<string, long> _totals = new(StringComparer.Ordinal);

    /// <exception cref="SensorFault">It can't be read now, so that counting would begin
    /// with a wrong number.</exception>
    public long Of(string sensor)
    {
        lock (_gate) return _totals.TryGetValue(sensor, out var total) ? total : _totals[sensor] = Load(sensor);
    }

    /// <param name="sensor">One whose total was asked for before.</param>
    /// <param name="pulses">How many more.</param>
    public void Add(string sensor, long pulses)
    {
        lock (_gate)
        {
            var total = _totals[sensor] += pulses;
            // Handed over before anybody can read it, and in the order in which it grows.
            buffer?.SaveDocumentsWithNextCommit(
                (NameOf(sensor), Encoding.ASCII.GetBytes(total.ToString(CultureInfo.InvariantCulture))));
        }
    }

    static string NameOf(string sensor) => $"counter.{sensor}";

    long Load(string sensor)
    {
        try
        {
            if (buffer?.LoadDocument(NameOf(sensor)) is not { } saved) return 0;
            return long.TryParse(
                Encoding.ASCII.GetString(saved.Span), NumberStyles.None, CultureInfo.InvariantCulture, out var total)
                ? total
                : throw new SensorFault(FaultReason.Error, $"the document '{NameOf(sensor)}' in the buffer's database "
                    + "holds no number: correct or delete it");
        }
        catch (BufferUnavailableException exception)
        {
            throw new SensorFault(FaultReason.Error, $"the total can't be read: {exception.Message}");
        }
    }
}
