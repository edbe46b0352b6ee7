using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Time;

namespace SensorForwarder.Operations.Status;

/// <summary>Reports the <c>status</c> section of the reported properties: after each connection, when a state changes,
/// and otherwise only every <c>statusIntervalSeconds</c>, since each update costs bandwidth and hub quota. One loop;
/// <see cref="ReportSoon"/> may be called on any thread.</summary>
internal sealed class StatusReporter(
    IEdgeHubClient client,
    ReportedProperties reported,
    StatusSource source,
    TimeProvider timeProvider,
    ILogger<StatusReporter> logger) : BackgroundService
{
    public const string Section = "status";

    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(5);

    // A state that keeps changing is reported at most this often.
    static readonly TimeSpan BetweenChanges = TimeSpan.FromSeconds(30);

    readonly Lock _lock = new();

    // Guarded by _lock.
    bool _soon;
    JsonObject _last = [];

    // Used only by the loop.
    int _stateHash;
    long? _reportedAt;

    /// <summary>Reports at the next look. Called after each connection.</summary>
    /// <param name="reportedBefore">The section as the hub has it.</param>
    public void ReportSoon(JsonObject reportedBefore)
    {
        lock (_lock) (_soon, _last) = (true, reportedBefore);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new AlignedTimer(LookEvery, timeProvider);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                Look();
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                OperationsLog.StatusNotReported(logger, exception);
            }
        }
    }

    void Look()
    {
        // A status reported while disconnected would be old when it arrives; the next connection reports a new one.
        if (client.Status.State == HubState.Disconnected) return;
        var status = source.Capture();
        var state = status.StateHash();
        var age = _reportedAt is { } at ? timeProvider.GetElapsedTime(at) : TimeSpan.MaxValue;
        var interval = (status.Settings?.Settings ?? new()).StatusInterval;
        var patience = interval < BetweenChanges ? interval : BetweenChanges;
        lock (_lock)
        {
            if (!_soon && age < interval && (state == _stateHash || age < patience)) return;
            (_soon, _stateHash, _reportedAt) = (false, state, timeProvider.GetTimestamp());
            var now = JsonNode.Parse(
                StatusDocument.Write(status, SizeLimit.MaxReportedBytes).Span)!.AsObject();
            var patch = now.DeepClone().AsObject();
            TwinReport.RemoveGone(patch, _last); // such as a removed sensor, or an error that is over
            reported.Report(new JsonObject { [Section] = patch });
            _last = now;
        }
    }
}
