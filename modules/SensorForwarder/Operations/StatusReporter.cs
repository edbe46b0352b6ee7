using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Operations;

/// <summary>Keeps the <c>status</c> section of the reported properties up to date: after each connection, when
/// something changes its state, and else every <c>statusIntervalSeconds</c>, since every update costs the
/// hub and the line.</summary>
internal sealed class StatusReporter(
    IEdgeHubClient client,
    ReportedProperties reported,
    SettingsStore settings,
    StatusWriter status,
    TimeProvider timeProvider,
    ILogger<StatusReporter> logger) : BackgroundService
{
    /// <summary>The name of the section.</summary>
    public const string Section = "status";

    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    // What goes to and fro is told this often and no more.
    static readonly TimeSpan BetweenChanges = TimeSpan.FromSeconds(30);

    readonly Lock _lock = new();

    // Guarded by _lock.
    bool _soon;
    JsonObject _last = [];

    // Used only by the loop.
    int _stateHash;
    long? _reportedAt;

    /// <param name="reportedBefore">The section as the hub has it.</param>
    public void ReportSoon(JsonObject reportedBefore)
    {
        lock (_lock) (_soon, _last) = (true, reportedBefore);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(LookEvery, timeProvider);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                Look();
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                Log.StatusNotReported(logger, exception);
            }
        }
    }

    void Look()
    {
        // What is old when the connection comes back is not worth keeping; then there is a new one.
        if (client.Status.State == HubState.Disconnected) return;
        var state = status.StateHash();
        var age = _reportedAt is { } at ? timeProvider.GetElapsedTime(at) : TimeSpan.MaxValue;
        var interval = settings.Current?.Settings.StatusInterval ?? new Settings().StatusInterval;
        var patience = interval < BetweenChanges ? interval : BetweenChanges;
        lock (_lock)
        {
            if (!_soon && age < interval && (state == _stateHash || age < patience)) return;
            (_soon, _stateHash, _reportedAt) = (false, state, timeProvider.GetTimestamp());
            var now = JsonNode.Parse(status.Write(StatusWriter.MaxReportedBytes))!.AsObject();
            var patch = now.DeepClone().AsObject();
            RemoveGone(patch, _last);
            reported.Report(new JsonObject { [Section] = patch });
            _last = now;
        }
    }

    // The hub merges: a sensor that is gone, or an error that is over, has to go by name.
    static void RemoveGone(JsonObject now, JsonObject before)
    {
        foreach (var (name, old) in before)
        {
            if (!now.ContainsKey(name)) now[name] = null;
            else if (now[name] is JsonObject inner && old is JsonObject outer) RemoveGone(inner, outer);
        }
    }
}
