using Microsoft.Azure.Functions.Worker;
using Microsoft.Extensions.Logging;
using PostgresReadings;

namespace PostgresFunction;

/// <summary>Called by the Functions host with the events of one partition.</summary>
public sealed partial class StoreReadings(EventReceiver receiver, ILogger<StoreReadings> log)
{
    // Without a retry policy the host would checkpoint events that were not stored. Retries never end: the events wait until the database is back.
    [Function(nameof(StoreReadings))]
    [ExponentialBackoffRetry(-1, "00:00:05", "00:05:00")]
    public async Task RunAsync([EventHubTrigger("%EventHub%", Connection = "IoTHub")] byte[][] events, CancellationToken cancellationToken)
    {
        var (stored, refused) = await receiver.StoreAsync(events, cancellationToken);
        LogStored(stored, events.Length);
        foreach (var reason in refused) LogRefused(reason);
    }

    [LoggerMessage(8001, LogLevel.Information, "{Stored} new readings in {Events} events")]
    private partial void LogStored(int stored, int events);

    [LoggerMessage(8002, LogLevel.Warning, "Not stored as a reading, but kept in the table 'refused': {Reason}")]
    private partial void LogRefused(string reason);
}
