using System.Globalization;
using System.Text;
using SensorForwarder.Buffer;

namespace SensorForwarder.Sensors;

/// <summary>
/// The totals of counters since they were first configured, by sensor name. Stored in the buffer's database with its
/// next commit, never later than a reading that contains the total; a power cut loses at most the pulses of one commit
/// interval. Thread-safe.
/// </summary>
/// <param name="buffer">Null: totals end with the process.</param>
internal sealed class PulseTotals(TelemetryBuffer? buffer)
{
    readonly Lock _gate = new();
    readonly Dictionary<string, long> _totals = new(StringComparer.Ordinal);

    /// <exception cref="SensorFault">The stored total can't be read now, so counting would start from a wrong
    /// number.</exception>
    public long Of(string sensor)
    {
        lock (_gate) return _totals.TryGetValue(sensor, out var total) ? total : _totals[sensor] = Load(sensor);
    }

    /// <param name="sensor">A sensor whose total has been read before.</param>
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
