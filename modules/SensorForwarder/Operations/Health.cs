using Microsoft.Extensions.Hosting;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations;

/// <summary>
/// Whether the module lives (its loops turn) and whether it is ready (storage writes, the sink takes what waits). A
/// loop that has nothing to do sleeps, so each is nudged now and then, and has to turn.
/// </summary>
internal sealed class Health(
    TelemetryBuffer buffer,
    Forwarder forwarder,
    SensorScheduler scheduler,
    SettingsStore settings,
    TimeProvider timeProvider,
    IEdgeHubClient? hub = null) : BackgroundService
{
    /// <summary>A loop that has not turned for so long hangs. Making room in a big buffer on a slow
    /// card takes its time.</summary>
    public static readonly TimeSpan TurnPatience = TimeSpan.FromMinutes(2);

    /// <summary>What waits longer than this beyond the upload interval should have been sent.</summary>
    public static readonly TimeSpan SinkPatience = TimeSpan.FromMinutes(5);

    /// <summary>The status of <see cref="Live"/> when nothing is wrong.</summary>
    public const string LiveStatus = "live";

    static readonly TimeSpan NudgeEvery = TimeSpan.FromSeconds(5);

    readonly Turning _writer = new(() => buffer.Turns, timeProvider);
    readonly Turning _forwarder = new(() => forwarder.Turns, timeProvider);

    /// <summary>503 means that restarting the module may help.</summary>
    public HealthReport Live() => new(LiveStatus, "notLive",
    [
        new("buffer", Stands(_writer, "the writer of the buffer")),
        new("forwarder", Stands(_forwarder, "the loop that forwards")),
        new("sensors", scheduler.FindStuck(TurnPatience) is { } name
            ? $"the loop of the sensor '{LogText.Clean(name)}' does not turn"
            : null),
    ]);

    /// <summary>503 means that readings do not get where they should; restarting will not help as a rule.</summary>
    public HealthReport Ready()
    {
        var stored = buffer.GetStatus();
        return new("ready", "notReady",
        [
            new("storage", stored.Storage == StorageState.Ok
                ? null
                : LogText.Clean($"{stored.Storage}: {stored.StorageReason}")),
            SettingsCheck(),
            new("sink", FaultOfSink(stored, forwarder.Status)),
        ]);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(NudgeEvery, timeProvider);
        do
        {
            _writer.Look();
            _forwarder.Look();
            buffer.Nudge();
            forwarder.Nudge();
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    HealthCheck SettingsCheck()
    {
        if (settings.Current is null) return new("settings", "the settings are not known yet");
        var problem = settings.FileProblem;
        return new("settings", problem is null ? null : $"the settings file changes nothing: {problem}", IsMinor: true);
    }

    string? FaultOfSink(BufferStatus stored, ForwardingStatus forwarding)
    {
        if (forwarding.Paused) return "forwarding is paused";
        var bound = (settings.Current?.Settings.Forwarding.UploadInterval ?? TimeSpan.Zero) + SinkPatience;
        if (stored.OldestAge is not { } age || age < bound) return null;
        if (forwarding.LastSuccess is { } success && success.Age(timeProvider) < bound) return null;
        var since = forwarding.LastSuccess is { } last
            ? $"since {LogText.Show(last.Time(timeProvider))}"
            : "since the start";
        var why = forwarding.HeldBackUntil > timeProvider.GetUtcNow()
            ? $"dailyMessageLimit holds it back until {LogText.Show(forwarding.HeldBackUntil.Value)}"
            : forwarding.LastError ?? hub?.Status.LastError;
        return LogText.Clean($"nothing was accepted {since}{(why is null ? "" : $": {why}")}");
    }

    static string? Stands(Turning loop, string name) => loop.Since is var since && since > TurnPatience
        ? $"{name} has not turned for {(long)since.TotalSeconds} s"
        : null;

    /// <summary>Sees whether a counter moves.</summary>
    sealed class Turning(Func<long> turns, TimeProvider timeProvider)
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
