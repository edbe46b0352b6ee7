using System.Globalization;
using SensorForwarder.EdgeHub;

namespace SensorForwarder.Forwarding;

/// <summary>Sends a batch as one message to edgeHub or IoT Hub; accepted means acknowledged, that is, stored by
/// edgeHub.</summary>
internal sealed class IotHubSink(IEdgeHubClient client, UpstreamWatch? upstream = null) : ISink
{
    /// <summary>IoT Hub takes 262144 bytes with topic and properties; 16 KiB are left for those.</summary>
    public const int LargestBodyBytes = 245_760;

    public bool IsReady(ForwardingSettings settings) => client.Status.State == HubState.Connected;

    public Task WaitUntilReadyAsync(CancellationToken cancellationToken) =>
        client.WaitUntilConnectedAsync(cancellationToken);

    public bool IsMetered => true;

    public bool IsHeld => upstream?.IsHolding == true;

    public int MaxInFlight(ForwardingSettings settings) => settings.MaxInFlightBatches;

    public int MaxBytes(ForwardingSettings settings) => Math.Min(settings.BatchMaxBytes, LargestBodyBytes);

    public string Describe(ForwardingSettings settings) => client.Identity.DialledHostName;

    public async Task<SendResult> SendAsync(
        Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        // Several readings are a batch that was made before the format was changed; it keeps its
        // boundaries and its form.
        var pnp = settings.MessageFormat == MessageFormat.Pnp && batch.Readings.Count == 1
            ? PnpEncoder.Encode(batch.Readings[0])
            : null;
        List<KeyValuePair<string, string>> properties =
        [
            new("$.on", batch.Lane == Lane.Live ? "live" : "backfill"),
            new("$.mid", batch.Id),
            new("$.ct", "application/json"),
            new("$.ce", "utf-8"),
            new("$.ctime", batch.CreatedAt.UtcDateTime.ToString("O", CultureInfo.InvariantCulture)),
        ];
        if (pnp?.Component is { } component) properties.Add(new("$.sub", component));
        var result = await client.SendAsync(new(pnp?.Body ?? batch.Body, properties), cancellationToken);
        return result.Status switch
        {
            HubSendStatus.Accepted => SendResult.Accepted,
            HubSendStatus.NotConnected or HubSendStatus.TimedOut => new(SendOutcome.Retry, result.Reason),
            HubSendStatus.TooLarge => new(SendOutcome.TooLarge, result.Reason),
            _ => throw new System.Diagnostics.UnreachableException(),
        };
    }
}
