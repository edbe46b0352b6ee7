using System.Text.Json;
using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Status;

/// <summary>The JSON of <c>/status</c>, of <c>getStatus</c> and of the <c>status</c> section of the reported
/// properties.</summary>
internal sealed class StatusDocument
{
    readonly ModuleStatus _status;

    // Not public: the source generator would also generate code for each type in a ModuleStatus.
    internal StatusDocument(ModuleStatus status) => _status = status;

    public string Version { get; } = ModuleStatus.Version;
    public long UptimeSeconds => (long)_status.Uptime.TotalSeconds;
    public string Epoch => _status.Epoch;
    public long LastCommittedId => _status.LastCommittedId;
    public long QueueDepth => _status.Buffer.Depth;
    public double OldestAgeSeconds => Math.Round(_status.Buffer.OldestAge?.TotalSeconds ?? 0, 1);
    public QueueForecast Forecast => _status.Forecast;
    public long BufferBytes => _status.Buffer.FileBytes;
    public long DeadLetters => _status.Buffer.DeadLetters;
    public string Storage => _status.Buffer.Storage.ToString();
    public string? StorageReason => LogText.Clean(_status.Buffer.StorageReason);
    public string Clock => _status.Buffer.ClockSynchronized ? "Synchronized" : "NotSynchronized";
    public Dictionary<string, long> Evicted =>
        _status.Buffer.Evicted.ToDictionary(total => total.Reason, total => total.Count);

    public SalvageDocument? Salvage => _status.Buffer.Salvage is not { } salvage ? null : new(
        salvage.At.UtcDateTime, LogText.Clean(salvage.Reason), salvage.Readings, salvage.Missing, salvage.IsComplete,
        LogText.Clean(Path.GetFileName(salvage.KeptAs)));

    public string Sink => LogText.Clean(_status.Forwarding.Sink);
    public bool Paused => _status.Forwarding.Paused;
    public long BatchesAccepted => _status.Forwarding.Batches;
    public long ReadingsAccepted => _status.Forwarding.Readings;
    public long SendFailures => _status.Forwarding.Failures;
    public QuotaDocument? Quota => QuotaDocument.Of(_status);
    public UpstreamDocument? Upstream => UpstreamDocument.Of(_status);
    public DateTime? LastSuccess => _status.Forwarding.LastSuccess?.Time(_status.Clock).UtcDateTime;
    public string? LastError => LogText.Clean(_status.Forwarding.LastError);
    public LanesDocument Lanes => LanesDocument.Of(_status);
    public LinkDocument Link => LinkDocument.Of(_status);
    public HubDocument? Hub => _status.Hub is not { } hub ? null : new(
        hub.State.ToString(), hub.Since.Time(_status.Clock).UtcDateTime, hub.Reconnects, LogText.Clean(hub.LastError));

    public string? SettingsFileError => _status.SettingsFileProblem;
    public Dictionary<string, int> SensorStates => _status.Sensors.CountBy(sensor => sensor.State)
        .OrderBy(state => state.Key).ToDictionary(state => state.Key.ToString(), state => state.Value);

    /// <summary>The raised alarms, oldest first; null: none.</summary>
    public IReadOnlyList<AlarmDocument>? Alarms => AlarmDocument.Of(_status.Sensors);

    /// <summary>Other programs, most recently seen first; null: none has sent anything.</summary>
    public OrderedDictionary<string, SourceDocument>? Intake => SourceDocument.Of(
        _status, _status.Sources.OrderByDescending(source => source.LastSeen?.Timestamp));

    /// <summary>Failing sensors first.</summary>
    public OrderedDictionary<string, SensorDocument> Sensors => new(_status.Sensors.Select(sensor =>
        KeyValuePair.Create(sensor.Name, new SensorDocument(
            sensor.Kind, sensor.State.ToString(), LogText.Clean(sensor.Reason), LogText.Clean(sensor.Detail),
            sensor.Readings, sensor.Failures, sensor.Missed))));

    /// <summary>As UTF-8.</summary>
    /// <param name="maxBytes">Sensors that do not fit are omitted from the end, and counted. Other programs that do not
    /// fit are omitted too, and not counted.</param>
    public static ReadOnlyMemory<byte> Write(ModuleStatus status, int maxBytes = SizeLimit.MaxAnswerBytes)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(new StatusDocument(status), StatusJson.Default.StatusDocument);
        return SizeLimit.Apply(
            json, maxBytes, (left, leftOut) => left["sensorsLeftOut"] = leftOut.GetValueOrDefault("sensors"));
    }
}

internal sealed record SalvageDocument(
    DateTime At, string Reason, long Readings, long Missing, bool Complete, string KeptAs);

internal sealed record HubDocument(string State, DateTime Since, long Reconnects, string? LastError);

/// <summary>An alarm that is raised.</summary>
internal sealed record AlarmDocument(string Sensor, string Name, string Severity, DateTime Since)
{
    /// <summary>The alarms of sensors, oldest first; null: none is raised.</summary>
    public static IReadOnlyList<AlarmDocument>? Of(IEnumerable<SensorHealth> sensors)
    {
        var raised = from sensor in sensors
                     from alarm in sensor.Alarms
                     where alarm.Since is not null
                     orderby alarm.Since
                     select new AlarmDocument(
                         alarm.Sensor, alarm.Rule.Name, alarm.Rule.Severity,
                         alarm.Since.GetValueOrDefault().UtcDateTime);
        return raised.ToList() is { Count: > 0 } list ? list : null;
    }
}

internal sealed record SensorDocument(
    string Kind, string State, string? Reason, string? Detail, long Readings, long Failures, long Missed);
