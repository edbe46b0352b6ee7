using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Configuration;

/// <summary>
/// Rolls a change of settings back after which nothing could be forwarded for <c>settingsTrialMinutes</c>, though it
/// could before. It looks once a second; where nothing was due, or a person holds the forwarder, that proves nothing
/// against the change. A trial goes on after a restart.
/// </summary>
internal sealed class SettingsTrial(
    SettingsStore store,
    TelemetryBuffer buffer,
    Forwarder forwarder,
    TimeProvider timeProvider,
    ILogger<SettingsTrial> logger,
    IEdgeHubClient? hub = null) : BackgroundService
{
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    // A batch that was under way when the change came may be accepted this much later, and proves nothing for it.
    static readonly TimeSpan UnderWayMax = TimeSpan.FromSeconds(60);

    ChangeOnTrial? _trial; // as of the last look
    long _began;
    long? _failingSince; // null while there is no sign that nothing can be forwarded
    long _batchesSeen;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(LookEvery, timeProvider);
        do
        {
            try
            {
                await LookAsync(stoppingToken);
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                Log.TrialFailed(logger, exception);
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
        Log.TrialBegun(logger, current.Settings.Trial.TotalMinutes, string.Join(", ", trial.Keys));
        if (isFirst) (_began, _failingSince) = (timeProvider.GetTimestamp(), null);
    }

    async Task JudgeAsync(
        ChangeOnTrial trial, ParsedSettings current, bool hasForwarded, CancellationToken cancellationToken)
    {
        if (hasForwarded && timeProvider.GetElapsedTime(_began) > UnderWayMax)
        {
            Log.TrialPassed(logger);
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
        var reason = $"rolled back, since nothing could be forwarded for {current.Settings.Trial.TotalMinutes:0.##} "
            + "minutes after the change"
            + (status.LastError is { } error ? $" ({LogText.Clean(error)})" : "") + "; another value is taken";
        Log.RolledBack(logger, string.Join(", ", keys), reason);
        await store.RollBackAsync(keys, trial.Before, reason, cancellationToken);
    }

    bool IsReachable(Settings settings) => settings.Forwarding.Sink switch
    {
        SinkKind.IotHub => hub?.Status.State == HubState.Connected,
        _ => settings.Forwarding.HttpEndpoint is not null,
    };
}
