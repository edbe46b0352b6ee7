using System.Globalization;
using SensorForwarder.EdgeHub;
using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>Sends each batch as one message to edgeHub or IoT Hub. Accepted means acknowledged; from edgeHub that
/// means stored, not delivered. Thread-safe.</summary>
/// <param name="handovers">Null: the client connects to IoT Hub directly.</param>
internal sealed class IotHubSink(IEdgeHubClient client, Handovers? handovers = null) : ISink
{
    /// <summary>IoT Hub accepts 262,144 bytes, topic and properties included; 16 KiB are reserved for those.</summary>
    public const int LargestBodyBytes = 245_760;

    public bool IsReady(ForwardingSettings settings) => client.Status.State == HubState.Connected;

    public Task WaitUntilReadyAsync(CancellationToken cancellationToken) =>
        client.WaitUntilConnectedAsync(cancellationToken);

    public bool IsMetered => true;

    public Handovers? Handovers => handovers;

    public int MaxInFlight(ForwardingSettings settings) => settings.MaxInFlightBatches;

    public int MaxBytes(ForwardingSettings settings) => Math.Min(settings.BatchMaxBytes, LargestBodyBytes);

    public string Describe(ForwardingSettings settings) => client.Host;

    public async Task<SendResult> SendAsync(
        Batch batch, ForwardingSettings settings, CancellationToken cancellationToken)
    {
        // A batch of several readings was made before the format was changed: it keeps its boundaries and format.
        var pnp = settings.MessageFormat == MessageFormat.Pnp && batch.Readings.Count == 1
            ? PnpEncoder.Encode(batch.Readings[0])
            : null;
        var isGzip = pnp is null && settings.IsGzip;
        List<KeyValuePair<string, string>> properties =
        [
            new("$.on", batch.Output),
            new("$.mid", batch.Id),
            new("$.ct", "application/json"),
            new("$.ce", isGzip ? "gzip" : "utf-8"),
            new("$.ctime", batch.Readings[^1].RecordedAt.UtcDateTime.ToString("O", CultureInfo.InvariantCulture)),
        ];
        if (pnp?.Component is { } component) properties.Add(new("$.sub", component));
        properties.Add(new("lane", batch.LaneName));
        properties.AddRange(batch.Tags.With(pnp?.Tags ?? Tags.None)); // for routes, which can't read a compressed body
        var body = pnp?.Body ?? batch.BodyFor(settings);
        var result = await client.SendAsync(new(body, properties), cancellationToken);
        return result.Status switch
        {
            HubSendStatus.Accepted => SendResult.Accepted,
            HubSendStatus.Retry => new(SendOutcome.Retry, result.Reason),
            HubSendStatus.Refused => new(SendOutcome.TooLarge, result.Reason),
            _ => throw new System.Diagnostics.UnreachableException(),
        };
    }
}
