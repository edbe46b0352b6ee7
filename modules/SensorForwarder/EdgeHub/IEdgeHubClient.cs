namespace SensorForwarder.EdgeHub;

/// <summary>
/// The one connection to edgeHub or IoT Hub, as the rest of the module sees it. Everything here could be done by
/// <c>Microsoft.Azure.Devices.Client</c>, so that an implementation over it is one file. Thread-safe.
/// </summary>
internal interface IEdgeHubClient
{
    EdgeIdentity Identity { get; }

    HubStatus Status { get; }

    HubCounters Counters { get; }

    /// <summary>The status has changed: connected, or not any more and why. A renewal of the token is no change. Called
    /// by the connection's loop: must not block.</summary>
    event Action<HubStatus>? StatusChanged;

    /// <summary>Who answers what comes from the hub. Set before the connection starts.</summary>
    IEdgeHubHandler? Handler { get; set; }

    /// <summary>Completes when telemetry can be sent: connected, and the twin has had its turn.</summary>
    Task WaitUntilConnectedAsync(CancellationToken cancellationToken);

    /// <summary>Sends one message and waits until the hub has acknowledged it. Never throws for what the network does.
    /// Calls that overlap are sent in the order in which they were made. While the token
    /// is renewed they wait.</summary>
    Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken);

    /// <summary>The whole twin: <c>{"desired":{..},"reported":{..}}</c> when the status is 200.</summary>
    Task<HubAnswer> GetTwinAsync(CancellationToken cancellationToken);

    /// <summary>Merges <paramref name="patch"/> (UTF-8 JSON, at most 32 KB, or it is 413) into the reported properties.
    /// Once, and now: <see cref="ReportedProperties"/> is what queues and repeats.</summary>
    Task<HubAnswer> PatchReportedAsync(ReadOnlyMemory<byte> patch, CancellationToken cancellationToken);
}

/// <summary>What the hub asks of the module. Called one at a time for twin changes, concurrently for methods.</summary>
internal interface IEdgeHubHandler
{
    /// <summary>Connected and subscribed; telemetry waits until this returns.</summary>
    Task OnConnectedAsync(CancellationToken cancellationToken);

    /// <summary>Desired properties changed. Must not block.</summary>
    /// <param name="version">The version in the topic, if it names one.</param>
    /// <param name="patch">UTF-8 JSON with the changed keys.</param>
    void OnDesiredPatch(long? version, ReadOnlyMemory<byte> patch);

    /// <summary>A direct method was called.</summary>
    Task<MethodAnswer> OnMethodAsync(string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken);
}

/// <summary>A telemetry message.</summary>
/// <param name="Body">The body; not copied: it must never change, since a send goes on when its
/// caller has given up.</param>
/// <param name="Properties">System properties (<c>$.mid</c>, <c>$.ct</c>...) and
/// application properties, in order.</param>
internal sealed record HubMessage(ReadOnlyMemory<byte> Body, IReadOnlyList<KeyValuePair<string, string>> Properties);

/// <summary>How a send ended.</summary>
internal enum HubSendStatus
{
    /// <summary>The hub has acknowledged it: edgeHub has stored it.</summary>
    Accepted,

    /// <summary>There is no connection, or it was lost before the acknowledgement; it may have arrived.</summary>
    NotConnected,

    /// <summary>No acknowledgement in time; it may have arrived.</summary>
    TimedOut,

    /// <summary>Larger than the hub takes; it was not sent.</summary>
    TooLarge,
}

/// <summary>How a send ended, and why in plain words.</summary>
internal readonly record struct HubSendResult(HubSendStatus Status, string Reason);

/// <summary>An answer to a twin request.</summary>
/// <param name="Status">HTTP-like status; 0 when none came.</param>
/// <param name="Body">UTF-8 JSON, or empty.</param>
internal readonly record struct HubAnswer(int Status, ReadOnlyMemory<byte> Body)
{
    public bool IsSuccess => Status is >= 200 and < 300;
}

/// <summary>The answer to a direct method.</summary>
/// <param name="Status">200 done, 400 the request is wrong, 404 no such thing, 501 no such
/// method, 500 it failed.</param>
/// <param name="Body">UTF-8 JSON.</param>
internal readonly record struct MethodAnswer(int Status, ReadOnlyMemory<byte> Body);

/// <summary>The state of the connection.</summary>
internal enum HubState
{
    Disconnected,
    Connecting,
    Connected,
}

/// <summary>The state of the connection, for people.</summary>
/// <param name="State">What it is.</param>
/// <param name="Since">Since when.</param>
/// <param name="LastError">The last failure in plain words; null when there was none.</param>
/// <param name="Reconnects">Connections that were lost since the start; renewals of the token are not counted.</param>
internal sealed record HubStatus(HubState State, Moment Since, string? LastError, long Reconnects)
{
    /// <summary>When that failure was; null when there was none.</summary>
    public Moment? LastErrorAt { get; init; }
}

/// <summary>What happened since the start.</summary>
/// <param name="Connects">Connections that were opened.</param>
/// <param name="Renewals">Of them, those that only renewed the token.</param>
/// <param name="Sent">Telemetry messages that were handed to the connection.</param>
/// <param name="Acknowledged">Of them, those that the hub acknowledged.</param>
/// <param name="TimedOut">Of them, those whose acknowledgement did not come in time.</param>
/// <param name="AcknowledgedBytes">Bytes on the wire of those acknowledged, topic and header included.</param>
/// <param name="MethodCalls">Direct methods that were called.</param>
internal readonly record struct HubCounters(
    long Connects, long Renewals, long Sent, long Acknowledged, long TimedOut, long AcknowledgedBytes,
    long MethodCalls);
