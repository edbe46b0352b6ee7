using Microsoft.Extensions.Logging;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>Lets the handler read the twin over a new connection, before telemetry is sent.</summary>
internal static class Synchronization
{
    static readonly TimeSpan Timeout = TimeSpan.FromSeconds(60);

    /// <summary>Waits for the handler, for at most a minute. Without an answer the last good settings stay in force.
    /// Never throws.</summary>
    /// <param name="handler">Null: there is nothing to do.</param>
    /// <param name="cancellationToken">Cancelled when the connection ends.</param>
    public static async Task RunAsync(
        IEdgeHubHandler? handler, TimeProvider timeProvider, ILogger logger, CancellationToken cancellationToken)
    {
        if (handler is null) return;
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        try
        {
            await Task.Run(() => handler.OnConnectedAsync(deadline.Token), cancellationToken)
                .WaitAsync(Timeout, timeProvider, cancellationToken);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
        }
        catch (Exception exception)
        {
            EdgeHubLog.NotSynchronized(
                logger, exception is TimeoutException ? "no answer in time" : NetworkText.Describe(exception));
        }
        finally
        {
            await deadline.CancelAsync();
        }
    }
}
