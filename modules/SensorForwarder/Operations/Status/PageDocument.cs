using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Status;

/// <summary>The part of the page that changes each second, as JSON.</summary>
internal sealed class PageDocument
{
    /// <summary>Sensors that the page shows, failing ones first; the others are only counted.</summary>
    const int MaxSensors = 200;

    readonly ModuleStatus _status;

    // Not public: the source generator would also generate code for each type in a ModuleStatus.
    internal PageDocument(ModuleStatus status) => _status = status;

    public required string Device { get; init; }
    public required string Module { get; init; }
    public required long EventsRevision { get; init; }
    public required long HourRevision { get; init; }

    /// <summary>The faults that health and readiness found.</summary>
    public required IEnumerable<string> Faults { get; init; }

    public DateTime Now => _status.Clock.GetUtcNow().UtcDateTime;
    public string Version { get; } = ModuleStatus.Version;
    public long UptimeSeconds => (long)_status.Uptime.TotalSeconds;
    public long SettingsRevision => _status.SettingsRevision;
    public int SettingsRefused => _status.Settings is not { } settings ? 0
        : settings.Verdicts.Count(verdict => verdict.Error is not null) + settings.UnknownKeys.Count;

    public PageQueueDocument Queue => PageQueueDocument.Of(_status);
    public PageLinkDocument Link => new(_status);
    public PageStorageDocument Storage => PageStorageDocument.Of(_status);
    public IEnumerable<PageSensorDocument> Sensors => _status.Sensors.Take(MaxSensors).Select(PageSensorDocument.Of);
    public OrderedDictionary<string, SourceDocument>? Intake => SourceDocument.Of(_status, _status.Sources);

    /// <summary>Sensors of other programs, whose history can be shown.</summary>
    public IEnumerable<string> PushedSensors => _status.PushedSensors;
    public int SensorsLeftOut => Math.Max(0, _status.Sensors.Count - MaxSensors);
}

internal sealed record PageQueueDocument(
    long Depth, int InMemory, double OldestAgeSeconds, long FileBytes, long MaxBytes, string WhenFull, string? GivesUp,
    double CommittedPerSecond, double AcceptedPerSecond, double? FullInSeconds, double? DrainedInSeconds,
    long DeadLetters, Dictionary<string, long> Evicted)
{
    public static PageQueueDocument Of(ModuleStatus status)
    {
        var (stored, rates, forecast) = (status.Buffer, status.Rates, status.Forecast);
        return new(
            stored.Depth, stored.InMemory, Math.Round(stored.OldestAge?.TotalSeconds ?? 0, 1), stored.FileBytes,
            stored.MaxBytes, (status.Settings?.Settings.Buffer ?? new()).WhenFull.ToString(),
            stored.FullAction?.ToString(), Math.Round(rates.Committed, 2), Math.Round(rates.Accepted, 2),
            forecast.FullInSeconds, forecast.DrainedInSeconds, stored.DeadLetters,
            stored.Evicted.ToDictionary(total => total.Reason, total => total.Count));
    }
}

internal sealed record PageLinkDocument : LinkDocument
{
    // Not public, as above.
    internal PageLinkDocument(ModuleStatus status)
        : base(Of(status))
    {
        var forwarding = status.Forwarding;
        Sink = LogText.Clean(forwarding.Sink);
        LastSuccess = forwarding.LastSuccess?.Time(status.Clock).UtcDateTime;
        (Failures, Readings) = (forwarding.Failures, forwarding.Readings);
        DrainOrder = (status.Settings?.Settings.Forwarding.DrainOrder ?? default).ToString();
        (Lanes, Quota) = (LanesDocument.Of(status), QuotaDocument.Of(status));
        (Upstream, Reconnects) = (UpstreamDocument.Of(status), status.Hub?.Reconnects);
    }

    public string Sink { get; }
    public DateTime? LastSuccess { get; }
    public long Failures { get; }
    public long Readings { get; }
    public string DrainOrder { get; }
    public LanesDocument Lanes { get; }
    public QuotaDocument? Quota { get; }
    public UpstreamDocument? Upstream { get; }
    public long? Reconnects { get; }
}

internal sealed record PageStorageDocument(
    string State, string? Reason, long Commits, long CommittedReadings, long WriteFailures, double FlashBytesPerYear,
    string? Salvaged, bool ClockSynchronized)
{
    public static PageStorageDocument Of(ModuleStatus status)
    {
        var stored = status.Buffer;
        return new(
            stored.Storage.ToString(), LogText.Clean(stored.StorageReason), stored.Commits,
            stored.CommittedReadings, stored.WriteFailures, status.FlashBytesPerYear,
            stored.Salvage is not { } salvage ? null : LogText.Clean(
                $"{salvage.At:yyyy-MM-dd HH:mm}: {salvage.Reason}; {salvage.Readings} readings saved"),
            stored.ClockSynchronized);
    }
}

internal sealed record PageSensorDocument(
    string Name, string Kind, string State, string? Reason, string? Detail, long Failures, string? Label, string? Unit,
    DateTime? Time, string? Quality, OrderedDictionary<string, double>? Values, IReadOnlyList<AlarmDocument>? Alarms)
{
    public static PageSensorDocument Of(SensorHealth sensor) => new(
        sensor.Name, sensor.Kind, sensor.State.ToString(), LogText.Clean(sensor.Reason), LogText.Clean(sensor.Detail),
        sensor.Failures, LogText.Clean(sensor.Last?.Label), LogText.Clean(sensor.Last?.Unit),
        sensor.Last?.Time.UtcDateTime, sensor.Last?.Quality.ToString(),
        sensor.Last is { } last ? new(Trends.Shown(last)) : null,
        AlarmDocument.Of([sensor]));
}
