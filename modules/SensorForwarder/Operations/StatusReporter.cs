using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Operations;

/// <summary>Keeps the <c>status</c> section of the reported properties up to date: after each connection, and then
/// rarely, since every update costs the hub and the line.</summary>
internal sealed class StatusReporter(
    IEdgeHubClient client,
    ReportedProperties reported,
    StatusWriter status,
    TimeProvider timeProvider,
    ILogger<StatusReporter> logger) : BackgroundService
{
    static readonly TimeSpan ReportEvery = TimeSpan.FromSeconds(300);

    readonly Channel<bool> _soon =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    public void ReportSoon() => _soon.Writer.TryWrite(true);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            using (var timer = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken))
            {
                var asked = _soon.Reader.ReadAsync(timer.Token).AsTask();
                await Task.WhenAny(asked, Task.Delay(ReportEvery, timeProvider, timer.Token));
                await timer.CancelAsync();
                await ((Task)asked).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }

            try
            {
                Report();
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                Log.StatusNotReported(logger, exception);
            }
        }
    }

    void Report()
    {
        // What is old when the connection comes back is not worth keeping; then there is a new one.
        if (client.Status.State == HubState.Disconnected) return;
        reported.Report(new JsonObject { ["status"] = JsonNode.Parse(status.Write(StatusWriter.MaxSensorsInTwin)) });
    }
}
