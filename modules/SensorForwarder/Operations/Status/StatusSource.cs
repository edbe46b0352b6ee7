using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Intake;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations.Status;

/// <summary>Captures a <see cref="ModuleStatus"/>. Only this type asks the parts of the module for their state.
/// Thread-safe.</summary>
internal sealed class StatusSource(
    BootOptions boot,
    TelemetryBuffer buffer,
    Forwarder forwarder,
    SensorScheduler scheduler,
    SettingsStore settings,
    Trends trends,
    TimeProvider timeProvider,
    IEdgeHubClient? hub = null,
    IntakeStore? intake = null,
    MqttIntake? mqtt = null)
{
    readonly long _started = timeProvider.GetTimestamp();
    readonly FlashWrites _flash = new(boot.BufferDirectory);
    volatile ModuleStatus? _last;

    public bool HasHub => hub is not null;

    /// <summary>The last captured status, or a new one if that is older than <paramref name="maxAge"/>.</summary>
    public ModuleStatus Recent(TimeSpan maxAge) =>
        _last is { } last && timeProvider.GetElapsedTime(last.Clock.GetTimestamp()) < maxAge ? last : Capture();

    public ModuleStatus Capture()
    {
        trends.Refresh();
        var (stored, forwarding, hubStatus) = (buffer.GetStatus(), forwarder.Status, hub?.Status);
        var (link, since) = trends.Link;
        var rates = trends.Rates;

        // Taken last, so that no time in the status is later than the clock.
        var clock = new StoppedClock(timeProvider);
        return _last = new()
        {
            Clock = clock,
            Uptime = clock.GetElapsedTime(_started),
            Epoch = buffer.Epoch,
            LastCommittedId = buffer.LastCommittedId,
            Buffer = stored,
            Rates = rates,
            Forecast = QueueForecast.Of(stored, rates, link == LinkState.Up),
            FlashBytes = new(_flash.WrittenBytes),
            Forwarding = forwarding,
            Link = link,
            LinkSince = since,
            LastFailure = LastFailure(forwarding, hubStatus),
            OldestAges = new(() =>
                (OldestAge(forwarding.Live, stored, clock), OldestAge(forwarding.Backfill, stored, clock),
                    OldestAge(forwarding.Alarm, stored, clock))),
            Hub = hubStatus,
            HubCounters = hub?.Counters ?? default,
            Settings = settings.Current,
            SettingsRevision = settings.Revision,
            SettingsFileProblem = settings.FileProblem,
            Sensors = [.. scheduler.Health.Concat(mqtt?.Health ?? [])
                .OrderBy(sensor => sensor.State != SensorState.Failing)
                .ThenBy(sensor => sensor.Name, StringComparer.Ordinal)],
            Sources = intake?.Sources.Status ?? [],
            PushedSensors = intake?.Sources.Sensors ?? [],
        };
    }

    SendFailure? LastFailure(ForwardingStatus forwarding, HubStatus? hubStatus)
    {
        var ofHub = hubStatus is { LastError: { } reason, LastErrorAt: { } at } && trends.GoesToHub(forwarding)
            ? new SendFailure(reason, at)
            : null;
        return forwarding.LastFailure is { } ofSend && !(ofHub?.At.Timestamp > ofSend.At.Timestamp) ? ofSend : ofHub;
    }

    TimeSpan? OldestAge(LaneStatus lane, BufferStatus stored, StoppedClock clock)
    {
        try
        {
            if (lane.Waiting == 0 || stored.Depth == 0) return null;
            var oldest = buffer.PeekBatch(lane.WaitingAfter, 1, 1);
            if (oldest.Count == 0) return null;
            var age = clock.GetUtcNow() - oldest[0].RecordedAt;
            return age > TimeSpan.Zero ? age : TimeSpan.Zero;
        }
        catch (BufferUnavailableException)
        {
            return null;
        }
    }

    /// <summary>The wall clock and the monotonic clock, stopped when this is created.</summary>
    sealed class StoppedClock(TimeProvider timeProvider) : TimeProvider
    {
        readonly DateTimeOffset _now = timeProvider.GetUtcNow();
        readonly long _timestamp = timeProvider.GetTimestamp();

        public override long TimestampFrequency { get; } = timeProvider.TimestampFrequency;

        public override DateTimeOffset GetUtcNow() => _now;

        public override long GetTimestamp() => _timestamp;
    }
}
