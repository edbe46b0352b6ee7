using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Operations;

/// <summary>Keeps the <c>status</c> section of the reported properties up to date: after each connection, and then
/// rarely, since every update costs the hub and the line.</summary>
internal sealed class StatusReporter(
    IEdgeHubClient client, StatusWriter status, TimeProvider timeProvider, ILogger<StatusReporter> logger) : BackgroundService
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
                await ReportAsync(stoppingToken);
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                Log.StatusNotReported(logger, exception);
            }
        }
    }

    async Task ReportAsync(CancellationToken cancellationToken)
    {
        if (client.Status.State == HubState.Disconnected) return;
        byte[] patch = [.. "{\"status\":"u8, .. status.Write(StatusWriter.MaxSensorsInTwin), (byte)'}'];
        await client.PatchReportedAsync(patch, cancellationToken);
    }
}
