using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.Configuration;

/// <summary>
/// Rolls back a change of settings after which nothing could be forwarded for <c>settingsTrialMinutes</c>, although
/// forwarding worked before it. Checks every five seconds, in one loop. Time in which nothing is waiting, or forwarding
/// is paused, does not count against the change. A trial continues after a restart.
/// </summary>
internal sealed class SettingsTrial(
    SettingsStore store,
    TelemetryBuffer buffer,
    Forwarder forwarder,
    TimeProvider timeProvider,
    ILogger<SettingsTrial> logger,
    IEdgeHubClient? hub = null) : BackgroundService
{
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(5);

    // A batch in flight at the change may be accepted this much later, without proving that the change works.
    static readonly TimeSpan UnderWayMax = TimeSpan.FromSeconds(60);

    ChangeOnTrial? _trial; // at the last look
    long _began;
    long? _failingSince; // null while forwarding works, nothing is waiting, or it is paused
    long _batchesSeen;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new AlignedTimer(LookEvery, timeProvider);
        do
        {
            try
            {
                await LookAsync(stoppingToken);
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                ConfigurationLog.TrialFailed(logger, exception);
            }
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    async Task LookAsync(CancellationToken cancellationToken)
    {
        if (store.Current is not { } current) return;
        var batches = forwarder.Status.Batches;
        var hasForwarded = batches > _batchesSeen;
        _batchesSeen = batches;

        var before = _trial;
        _trial = store.Trial;
        if (_trial is { } trial)
        {
            if (trial == before) await JudgeAsync(trial, current, hasForwarded, cancellationToken);
            else Begin(trial, isFirst: before is null, current);
        }

        store.IsForwarding =
            forwarder.Status is { LastSuccess: not null, LastError: null } && IsReachable(current.Settings);
    }

    void Begin(ChangeOnTrial trial, bool isFirst, ParsedSettings current)
    {
        ConfigurationLog.TrialBegun(logger, current.Settings.Trial.TotalMinutes, string.Join(", ", trial.Keys));
        if (isFirst) (_began, _failingSince) = (timeProvider.GetTimestamp(), null);
    }

    async Task JudgeAsync(
        ChangeOnTrial trial, ParsedSettings current, bool hasForwarded, CancellationToken cancellationToken)
    {
        if (hasForwarded && timeProvider.GetElapsedTime(_began) > UnderWayMax)
        {
            ConfigurationLog.TrialPassed(logger);
            await store.EndTrialAsync(trial, cancellationToken);
            return;
        }

        var status = forwarder.Status;
        var canNot = buffer.GetStatus().Depth > 0 && !status.Paused
            && (status.LastError is not null || !IsReachable(current.Settings));
        if (hasForwarded || !canNot) _failingSince = null;
        else _failingSince ??= timeProvider.GetTimestamp();
        if (_failingSince is not { } since || timeProvider.GetElapsedTime(since) < current.Settings.Trial) return;

        var keys = trial.Keys.Where(key => !JsonNode.DeepEquals(trial.Before[key], current.Accepted[key])).ToList();
        var reason = $"rolled back, because nothing could be forwarded for {current.Settings.Trial.TotalMinutes:0.##} "
            + "minutes after the change"
            + (status.LastError is { } error ? $" ({LogText.Clean(error)})" : "") + "; only another value is accepted";
        ConfigurationLog.RolledBack(logger, string.Join(", ", keys), reason);
        await store.RollBackAsync(keys, trial.Before, reason, cancellationToken);
    }

    bool IsReachable(Settings settings) => settings.Forwarding.Sink switch
    {
        SinkKind.IotHub => hub?.Status.State == HubState.Connected,
        _ => settings.Forwarding.HttpEndpoint is not null,
    };
}
