using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations;

/// <summary>Opens the buffer, and waits while its volume or key is not available. If it exited instead, edgeAgent would
/// stop restarting the module after 20 attempts.</summary>
internal static class VolumeWait
{
    static readonly TimeSpan RetryEvery = TimeSpan.FromSeconds(5);

    /// <summary>The buffer; null if stopped before the volume was available.</summary>
    /// <param name="boot">The buffer's directory and key.</param>
    /// <param name="showAsync">Shows people why the module waits, and the time until the next attempt.</param>
    public static async Task<TelemetryBuffer?> OpenBufferAsync(
        BootOptions boot, Func<string, TimeSpan, CancellationToken, Task> showAsync, TimeProvider timeProvider,
        ILoggerFactory loggers, CancellationToken stop)
    {
        var log = loggers.CreateLogger("SensorForwarder");
        var random = new Random();
        while (!stop.IsCancellationRequested)
        {
            try
            {
                var key = await BufferKeys.GetAsync(boot, timeProvider, random, stop);
                return await TelemetryBuffer.OpenAsync(
                    new BufferOptions { Directory = boot.BufferDirectory, Key = key }, timeProvider,
                    loggers.CreateLogger<TelemetryBuffer>(), stop);
            }
            catch (BufferUnavailableException exception)
            {
                await showAsync(exception.Message, RetryEvery, stop);
                OperationsLog.WaitingForVolume(log, exception.Message);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                break;
            }

            await Task.Delay(RetryEvery, timeProvider, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return null;
    }
}
