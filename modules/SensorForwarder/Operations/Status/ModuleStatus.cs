using System.Reflection;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Intake;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations.Status;

/// <summary>The state of the module at one moment, captured by <see cref="StatusSource"/>. Status, page, metrics,
/// readiness and change detection are derived from it. Contains no secrets. Immutable.</summary>
internal sealed record ModuleStatus
{
    public static readonly string Version =
        Assembly.GetExecutingAssembly().GetName().Version?.ToString(3) ?? "unknown";

    /// <summary>A clock stopped at that moment; ages and times are calculated with it.</summary>
    public required TimeProvider Clock { get; init; }

    public required TimeSpan Uptime { get; init; }

    public required string Epoch { get; init; }
    public required long LastCommittedId { get; init; }
    public required BufferStatus Buffer { get; init; }

    /// <inheritdoc cref="Trends.Rates"/>
    public required (double Growth, double Accepted, double Committed) Rates { get; init; }

    public required QueueForecast Forecast { get; init; }

    /// <summary>Bytes written to flash since the start; null if the kernel does not count them. Read when first used.
    /// </summary>
    public required Lazy<long?> FlashBytes { get; init; }

    /// <summary>The same, extrapolated to a year.</summary>
    public double FlashBytesPerYear => FlashWrites.PerYear(FlashBytes.Value, Uptime);

    public required ForwardingStatus Forwarding { get; init; }
    public required LinkState Link { get; init; }
    public required DateTimeOffset LinkSince { get; init; }

    /// <summary>The last failure of the link to the receiver; null: there was none.</summary>
    public required SendFailure? LastFailure { get; init; }

    /// <summary>Age of the oldest waiting reading of each lane, by the wall clock; null: nothing waits, or the buffer
    /// can't be read. Read from the volume when first used: metrics, readiness and change detection do not need it.
    /// </summary>
    public required Lazy<(TimeSpan? Live, TimeSpan? Backfill, TimeSpan? Alarm)> OldestAges { get; init; }

    /// <summary>Null: there is no hub.</summary>
    public required HubStatus? Hub { get; init; }
    public required HubCounters HubCounters { get; init; }

    /// <summary>Null: not known yet.</summary>
    public required ParsedSettings? Settings { get; init; }

    public required long SettingsRevision { get; init; }

    /// <summary>Why the settings file is ignored; null: it is in force, or there is none.</summary>
    public required string? SettingsFileProblem { get; init; }

    /// <summary>Failing sensors first, then by name.</summary>
    public required IReadOnlyList<SensorHealth> Sensors { get; init; }

    /// <summary>Other programs that have sent readings, by name.</summary>
    public required IReadOnlyList<IntakeSourceStatus> Sources { get; init; }

    /// <summary>Names of the sensors of other programs' readings; a limited number of them.</summary>
    public required IReadOnlyCollection<string> PushedSensors { get; init; }

    /// <summary>Changes when a part changes its state, but not when only a counter increases.</summary>
    public int StateHash()
    {
        var hash = new HashCode();
        hash.Add((Epoch, Buffer.Storage, Buffer.FullAction, Buffer.ClockSynchronized, Buffer.DeadLetters > 0));
        hash.Add((Buffer.Evicted.Count, Buffer.Salvage?.At, Buffer.Salvage?.IsComplete, SettingsFileProblem));
        hash.Add((Forwarding.Sink, Forwarding.Paused, Hub?.State == HubState.Connected));
        hash.Add((Forwarding.LastError is null, Forwarding.LastError is null ? null : Forwarding.LastErrorAnswer));
        hash.Add((Forwarding.Custody.Holder, Forwarding.Custody.LostMessages > 0, Forwarding.Custody.Unrouted.Count));
        hash.Add(Forwarding.UpstreamHeldSince is null);
        foreach (var sensor in Sensors) hash.Add((sensor.Name, sensor.Kind, sensor.State, sensor.Reason));
        foreach (var alarm in Sensors.SelectMany(sensor => sensor.Alarms))
            hash.Add((alarm.Sensor, alarm.Rule.Name, alarm.Since));
        foreach (var source in Sources) hash.Add((source.Name, source.IsSilent));
        return hash.ToHashCode();
    }
}
