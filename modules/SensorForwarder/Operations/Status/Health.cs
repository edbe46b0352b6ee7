using Microsoft.Extensions.Hosting;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.Operations.Status;

/// <summary>
/// Checks whether the module is live (its loops run) and ready (the volume and the sink accept readings). An idle loop
/// sleeps, so each is nudged every few seconds and must then run. Used by the health socket, the web server and the
/// page; thread-safe.
/// </summary>
internal sealed class Health(
    StatusSource source, TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler,
    TimeProvider timeProvider)
    : BackgroundService
{
    /// <summary>A loop that has not run for this long is stuck. Making room in a big buffer on a slow card can take
    /// more than a minute.</summary>
    public static readonly TimeSpan TurnPatience = TimeSpan.FromMinutes(2);

    /// <summary>Readings that wait longer than the upload interval plus this are overdue.</summary>
    public static readonly TimeSpan SinkPatience = TimeSpan.FromMinutes(5);

    /// <summary>The status of <see cref="Live"/> when nothing is wrong.</summary>
    public const string LiveStatus = "live";

    static readonly TimeSpan NudgeEvery = TimeSpan.FromSeconds(5);

    readonly LoopWatch _writer = new(() => buffer.Turns, timeProvider);
    readonly LoopWatch _forwarder = new(() => forwarder.Turns, timeProvider);

    /// <summary>Liveness. A fault (503) means that restarting the module may help.</summary>
    public HealthReport Live() => new(LiveStatus, "notLive",
    [
        new("buffer", StuckFault(_writer, "the buffer's writer")),
        new("forwarder", StuckFault(_forwarder, "the forwarder's loop")),
        new("sensors", scheduler.FindStuck(TurnPatience) is { } name
            ? $"the loop of sensor '{LogText.Clean(name)}' is stuck"
            : null),
    ]);

    /// <summary>Readiness. A fault (503) means that readings are not stored or delivered; restarting rarely helps.
    /// </summary>
    public HealthReport Ready() => Ready(source.Capture());

    /// <inheritdoc cref="Ready()"/>
    public static HealthReport Ready(ModuleStatus status) => new("ready", "notReady",
    [
        new("storage", status.Buffer.Storage == StorageState.Ok
            ? null
            : LogText.Clean($"{status.Buffer.Storage}: {status.Buffer.StorageReason}")),
        SettingsCheck(status),
        new("sink", SinkFault(status)),
    ]);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new AlignedTimer(NudgeEvery, timeProvider);
        do
        {
            _writer.Look();
            _forwarder.Look();
            buffer.Nudge();
            forwarder.Nudge();
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    static HealthCheck SettingsCheck(ModuleStatus status)
    {
        if (status.Settings is null) return new("settings", "the settings are not known yet");
        var problem = status.SettingsFileProblem;
        return new("settings", problem is null ? null : $"the settings file is ignored: {problem}", IsMinor: true);
    }

    static string? SinkFault(ModuleStatus status)
    {
        var (forwarding, clock) = (status.Forwarding, status.Clock);
        if (forwarding.Paused) return "forwarding is paused";
        var bound = (status.Settings?.Settings.Forwarding.UploadInterval ?? TimeSpan.Zero) + SinkPatience;
        if (status.Buffer.OldestAge is not { } age || age < bound) return null;
        if (forwarding.LastSuccess is { } success && success.Age(clock) < bound) return null;
        var since = forwarding.LastSuccess is { } last
            ? $"since {LogText.Show(last.Time(clock))}"
            : "since the start";
        var why = forwarding.HeldBackUntil > clock.GetUtcNow()
            ? $"dailyMessageLimit holds readings back until {LogText.Show(forwarding.HeldBackUntil.Value)}"
            : forwarding.LastError ?? status.Hub?.LastError;
        return LogText.Clean($"nothing was accepted {since}{(why is null ? "" : $": {why}")}");
    }

    static string? StuckFault(LoopWatch loop, string name) => loop.Since is var since && since > TurnPatience
        ? $"{name} has not run for {(long)since.TotalSeconds} s"
        : null;

    /// <summary>Measures how long a counter has not changed.</summary>
    sealed class LoopWatch(Func<long> turns, TimeProvider timeProvider)
    {
        long _seen = -1;
        long _at = timeProvider.GetTimestamp();

        public TimeSpan Since => timeProvider.GetElapsedTime(Volatile.Read(ref _at));

        public void Look()
        {
            if (turns() is var now && now == _seen) return;
            _seen = now;
            Volatile.Write(ref _at, timeProvider.GetTimestamp());
        }
    }
}
