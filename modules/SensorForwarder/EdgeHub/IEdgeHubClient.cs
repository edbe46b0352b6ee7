using Microsoft.Extensions.Hosting;
using SensorForwarder.Time;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// The connection to edgeHub or IoT Hub: connects when it is started, and again whenever the connection is lost, until
/// it is stopped. Identity and protocol are up to the implementation. Thread-safe.
/// </summary>
internal interface IEdgeHubClient : IHostedService
{
    /// <summary>The host that it connects to, for status and log.</summary>
    string Host { get; }

    HubStatus Status { get; }

    HubCounters Counters { get; }

    /// <summary>Handles twin changes and direct methods. Set before the connection starts.</summary>
    IEdgeHubHandler? Handler { get; set; }

    /// <summary>Completes when telemetry can be sent: connected, and <see cref="IEdgeHubHandler.OnConnectedAsync"/> has
    /// returned or timed out.</summary>
    Task WaitUntilConnectedAsync(CancellationToken cancellationToken);

    /// <summary>Sends one message and waits for the acknowledgement. Does not throw for failures of the network.
    /// Concurrent calls are sent in the order of the calls.</summary>
    Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken);

    /// <summary>Gets the whole twin: <c>{"desired":{..},"reported":{..}}</c> when the status is 200.</summary>
    Task<HubAnswer> GetTwinAsync(CancellationToken cancellationToken);

    /// <summary>Merges <paramref name="patch"/> (UTF-8 JSON) into the reported properties; status 413 above 32 KB.
    /// Makes one attempt: <see cref="ReportedProperties"/> queues and retries.</summary>
    Task<HubAnswer> PatchReportedAsync(ReadOnlyMemory<byte> patch, CancellationToken cancellationToken);
}

/// <summary>Handles events of the connection. Twin changes and input messages are reported one at a time; methods may
/// be concurrent.</summary>
internal interface IEdgeHubHandler
{
    /// <summary>The connection is open and subscribed. Telemetry waits until this returns, at most 60 s.</summary>
    Task OnConnectedAsync(CancellationToken cancellationToken);

    /// <summary>Desired properties changed. Must not block or throw.</summary>
    /// <param name="version">The version in the topic; null: none.</param>
    /// <param name="patch">UTF-8 JSON with the changed keys.</param>
    void OnDesiredPatch(long? version, ReadOnlyMemory<byte> patch);

    /// <summary>A direct method was called.</summary>
    Task<MethodAnswer> OnMethodAsync(string name, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken);

    /// <summary>edgeHub routed a message to an input of this module. The next message is reported when this completes.
    /// </summary>
    /// <param name="cancellationToken">Cancelled when the module stops. Not when the connection is lost: the message is
    /// delivered again over the next one, and should then be known.</param>
    /// <returns>Whether to acknowledge the message; if not, edgeHub delivers it again.</returns>
    Task<bool> OnInputAsync(InputMessage message, CancellationToken cancellationToken);
}

/// <summary>A message that edgeHub routed to an input of this module.</summary>
/// <param name="Input">The name of the input.</param>
/// <param name="Properties">System properties (<c>$.mid</c>, <c>$.cdid</c>...) and application properties, in order.
/// A property may have no value.</param>
/// <param name="Body">The body. Never changes.</param>
internal sealed record InputMessage(
    string Input, IReadOnlyList<KeyValuePair<string, string?>> Properties, ReadOnlyMemory<byte> Body)
{
    /// <summary>How long edgeHub waits for the acknowledgement of a message before it delivers it again.</summary>
    public static readonly TimeSpan AcknowledgeWithin = TimeSpan.FromSeconds(30);

    /// <summary>The value of a property; null: it has none.</summary>
    public string? this[string name] => Properties.FirstOrDefault(property => property.Key == name).Value;
}

/// <summary>A telemetry message.</summary>
/// <param name="Body">The body. It is not copied and must never change: a send continues when its caller is cancelled.
/// </param>
/// <param name="Properties">System properties (<c>$.mid</c>, <c>$.ct</c>...) and application properties, in order.
/// </param>
internal sealed record HubMessage(ReadOnlyMemory<byte> Body, IReadOnlyList<KeyValuePair<string, string>> Properties);

/// <summary>How a send ended.</summary>
internal enum HubSendStatus
{
    /// <summary>The hub has acknowledged the message: edgeHub has stored it.</summary>
    Accepted,

    /// <summary>Not acknowledged: there is no connection, it was lost before the acknowledgement, or none came in time.
    /// The message may have arrived.</summary>
    Retry,

    /// <summary>Larger than the hub accepts; not sent.</summary>
    Refused,
}

/// <summary>How a send ended, and the reason in words.</summary>
internal readonly record struct HubSendResult(HubSendStatus Status, string Reason);

/// <summary>An answer to a twin request.</summary>
/// <param name="Status">HTTP-like status; 0: no answer.</param>
/// <param name="Body">UTF-8 JSON, or empty.</param>
internal readonly record struct HubAnswer(int Status, ReadOnlyMemory<byte> Body)
{
    public bool IsSuccess => Status is >= 200 and < 300;
}

/// <summary>The answer to a direct method.</summary>
/// <param name="Status">200 done, 400 bad request, 404 not found, 500 failed, 501 no such method.</param>
/// <param name="Body">UTF-8 JSON.</param>
internal readonly record struct MethodAnswer(int Status, ReadOnlyMemory<byte> Body);

/// <summary>The state of the connection.</summary>
internal enum HubState
{
    Disconnected,
    Connecting,
    Connected,
}

/// <summary>The state of the connection, for the status.</summary>
/// <param name="Since">Since when it has been in this state.</param>
/// <param name="LastError">The last failure; null: none.</param>
/// <param name="Reconnects">Connections lost since the start, without renewals of the token.</param>
internal sealed record HubStatus(HubState State, Moment Since, string? LastError, long Reconnects)
{
    /// <summary>When <see cref="LastError"/> was; null: never.</summary>
    public Moment? LastErrorAt { get; init; }

    /// <summary>The next status.</summary>
    /// <param name="state">The new state; may be the same.</param>
    /// <param name="error">What has failed; null: nothing.</param>
    /// <param name="isOutage">Whether a connection that ends with this counts as lost.</param>
    /// <param name="now">The time.</param>
    public HubStatus Then(HubState state, string? error, bool isOutage, Moment now)
    {
        var errorAt = error is null ? LastErrorAt : now;
        if (State == state && (error is null || error == LastError)) return this with { LastErrorAt = errorAt };
        var lost = isOutage && state == HubState.Disconnected && State == HubState.Connected ? 1 : 0;
        return new(state, State == state ? Since : now, error ?? LastError, Reconnects + lost)
        {
            LastErrorAt = errorAt,
        };
    }
}

/// <summary>Counts since the start.</summary>
/// <param name="Renewals">Connections replaced to renew the token.</param>
/// <param name="Sent">Telemetry messages sent.</param>
/// <param name="Acknowledged">Telemetry messages that the hub acknowledged.</param>
/// <param name="TimedOut">Telemetry messages not acknowledged in time.</param>
/// <param name="AcknowledgedBytes">Bytes on the wire of acknowledged messages, topic and header included.</param>
/// <param name="MethodCalls">Direct methods called.</param>
internal readonly record struct HubCounters(
    long Renewals, long Sent, long Acknowledged, long TimedOut, long AcknowledgedBytes, long MethodCalls);
