using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.Operations.Web;

namespace SensorForwarder.Operations;

/// <summary>Opens the buffer, and waits for its volume or its key when they are not there: ending instead would make
/// edgeAgent give the module up after 20 restarts. Meanwhile the port says why.</summary>
internal static class VolumeWait
{
    static readonly TimeSpan RetryEvery = TimeSpan.FromSeconds(5);

    /// <summary>The buffer, or null when the module is asked to stop before the volume came.</summary>
    public static async Task<TelemetryBuffer?> OpenBufferAsync(
        BootOptions boot, RequestGuard guard, TimeProvider timeProvider, ILoggerFactory loggers, CancellationToken stop)
    {
        var log = loggers.CreateLogger("SensorForwarder");
        await using var page = new WaitingPage(boot, guard, timeProvider, log);
        var random = new Random();
        while (!stop.IsCancellationRequested)
        {
            try
            {
                var key = await BufferKeys.GetAsync(boot, timeProvider, random, stop);
                return await TelemetryBuffer.OpenAsync(
                    new BufferOptions
                    {
                        Directory =
                        boot.BufferDirectory,
                        Key = key
                    }, timeProvider, loggers.CreateLogger<TelemetryBuffer>(), stop);
            }
            catch (BufferUnavailableException exception)
            {
                await page.ShowAsync(exception.Message, RetryEvery, stop);
                Log.WaitingForVolume(log, exception.Message);
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
