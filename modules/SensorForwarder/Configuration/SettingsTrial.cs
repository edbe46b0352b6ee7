using System.Text;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;

namespace SensorForwarder.Configuration;

/// <summary>
/// Rolls a change of settings back after which nothing could be forwarded for <c>settingsTrialMinutes</c>, though it
/// could before. It looks once a second at what was accepted; where nothing was due, or a person holds the forwarder,
/// that proves nothing against the change. A trial goes on after a restart.
/// </summary>
internal sealed class SettingsTrial(
    SettingsStore store,
    TelemetryBuffer buffer,
    Forwarder forwarder,
    TimeProvider timeProvider,
    ILogger<SettingsTrial> logger,
    IEdgeHubClient? hub = null) : BackgroundService
{
    const string TrialDocument = "settings.trial";
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    // A batch that was under way when the change came may be accepted this much later, and proves nothing for it.
    static readonly TimeSpan UnderWayMax = TimeSpan.FromSeconds(60);

    ParsedSettings? _seen;
    long _batchesSeen;
    bool _worked;
    Trial? _trial;

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
        if (_seen is null) Resume(current);
        var before = _seen!;
        _seen = current;

        var batches = forwarder.Status.Batches;
        var hasForwarded = batches > _batchesSeen;
        _batchesSeen = batches;

        if (current.Settings.Trial == TimeSpan.Zero)
        {
            await EndAsync(cancellationToken);
        }
        else if (current != before && (_worked || _trial is not null)
            && ChangedKeys(before.Settings, current.Settings) is { Count: > 0 } keys)
        {
            await BeginAsync(before, current, keys, cancellationToken);
        }
        else if (_trial is { } trial)
        {
            await JudgeAsync(trial, current, hasForwarded, cancellationToken);
        }

        _worked = forwarder.Status is { LastSuccess: not null, LastError: null } && IsReachable(current.Settings);
    }

    async Task JudgeAsync(Trial trial, ParsedSettings current, bool hasForwarded, CancellationToken cancellationToken)
    {
        if (hasForwarded && timeProvider.GetElapsedTime(trial.Began) > UnderWayMax)
        {
            Log.TrialPassed(logger);
            await EndAsync(cancellationToken);
            return;
        }

        var status = forwarder.Status;
        var canNot = buffer.GetStatus().Depth > 0 && !status.Paused && (status.LastError is not null || !IsReachable(current.Settings));
        if (hasForwarded || !canNot) trial.FailingSince = null;
        else trial.FailingSince ??= timeProvider.GetTimestamp();
        if (trial.FailingSince is not { } since || timeProvider.GetElapsedTime(since) < current.Settings.Trial) return;

        var keys = trial.Keys.Where(key => !JsonNode.DeepEquals(trial.Before[key], current.Accepted[key])).ToList();
        var reason = $"rolled back, since nothing could be forwarded for {current.Settings.Trial.TotalMinutes:0.##} minutes after the change"
            + (status.LastError is { } error ? $" ({LogText.Clean(error)})" : "") + "; another value is taken";
        Log.RolledBack(logger, string.Join(", ", keys), reason);
        await store.RollBackAsync(keys, trial.Before, reason, cancellationToken);
        await EndAsync(cancellationToken);
        _seen = store.Current;
    }

    /// <summary>Begins a trial, or takes another change into the one that is on.</summary>
    async Task BeginAsync(ParsedSettings before, ParsedSettings current, List<string> keys, CancellationToken cancellationToken)
    {
        Log.TrialBegun(logger, current.Settings.Trial.TotalMinutes, string.Join(", ", keys));
        _trial ??= new(before.Accepted, [], timeProvider.GetTimestamp());
        _trial.Keys.UnionWith(keys);
        await SaveAsync(_trial.ToJson(), cancellationToken);
    }

    async Task EndAsync(CancellationToken cancellationToken)
    {
        if (_trial is null) return;
        _trial = null;
        await SaveAsync([], cancellationToken);
    }

    void Resume(ParsedSettings current)
    {
        _seen = current;
        _batchesSeen = forwarder.Status.Batches;
        if (buffer.LoadDocument(TrialDocument) is not { } saved || DocumentReader.Read(saved.Span, out _) is not { } document) return;
        _trial = Trial.FromJson(document, timeProvider.GetTimestamp());
        if (_trial is { } trial) Log.TrialBegun(logger, current.Settings.Trial.TotalMinutes, string.Join(", ", trial.Keys));
    }

    async Task SaveAsync(JsonObject document, CancellationToken cancellationToken)
    {
        try
        {
            await buffer.SaveDocumentAsync(TrialDocument, Encoding.UTF8.GetBytes(document.ToJsonString()), cancellationToken);
        }
        catch (BufferUnavailableException exception)
        {
            Log.SettingsNotSaved(logger, exception);
        }
    }

    bool IsReachable(Settings settings) => settings.Forwarding.Sink switch
    {
        SinkKind.IotHub => hub?.Status.State == HubState.Connected,
        _ => settings.Forwarding.HttpEndpoint is not null,
    };

    /// <summary>The settings of forwarding that differ.</summary>
    static List<string> ChangedKeys(Settings before, Settings now)
    {
        var rest = now with { Forwarding = before.Forwarding };
        return [.. SettingsTable.All
            .Where(definition => !JsonNode.DeepEquals(definition.Get(before), definition.Get(now))
                && JsonNode.DeepEquals(definition.Get(before), definition.Get(rest)))
            .Select(definition => definition.Key)];
    }

    /// <param name="before">What was accepted before the change.</param>
    /// <param name="keys">What was changed since.</param>
    /// <param name="began">When.</param>
    sealed class Trial(JsonObject before, HashSet<string> keys, long began)
    {
        public JsonObject Before => before;

        public HashSet<string> Keys => keys;

        public long Began => began;

        /// <summary>Since when nothing can be forwarded; null while there is no sign of that.</summary>
        public long? FailingSince { get; set; }

        public JsonObject ToJson() => new()
        {
            ["before"] = before.DeepClone(),
            ["keys"] = new JsonObject(keys.Select(key => KeyValuePair.Create(key, (JsonNode?)true))),
        };

        public static Trial? FromJson(JsonObject saved, long began) =>
            (saved["before"], saved["keys"]) is (JsonObject before, JsonObject keys)
                ? new(before.DeepClone().AsObject(), [.. keys.Select(pair => pair.Key)], began)
                : null;
    }
}
