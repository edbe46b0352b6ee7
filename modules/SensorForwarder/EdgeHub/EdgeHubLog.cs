using Microsoft.Extensions.Logging;

namespace SensorForwarder.EdgeHub;

internal static partial class EdgeHubLog
{
    [LoggerMessage(5001, LogLevel.Information, "Connected to {Host} as {ClientId} ({Transport}){Proxy}.")]
    public static partial void Connected(
        ILogger logger, string host, string clientId, HubTransport transport, string proxy);

    [LoggerMessage(5002, LogLevel.Warning,
        "No connection to {Host}: {Reason}. Readings are kept; next attempt in {Seconds:0.0} s.")]
    public static partial void Disconnected(ILogger logger, string host, string reason, double seconds);

    [LoggerMessage(5003, LogLevel.Error,
        "The other side closed {Count} connections in a row within {Seconds:0} s each: the line is unstable, or "
        + "another client connects as {ClientId}. Only one client may use an identity: stop the other one, or give it "
        + "its own identity. Until then this module reconnects less often.")]
    public static partial void RivalSuspected(ILogger logger, string clientId, int count, double seconds);

    [LoggerMessage(5004, LogLevel.Error, "The direct method {Name} failed.")]
    public static partial void MethodFailed(ILogger logger, string name, Exception exception);

    [LoggerMessage(5005, LogLevel.Error,
        "The direct method {Name} did not complete within {Seconds:0} s; its caller no longer waits.")]
    public static partial void MethodTooSlow(ILogger logger, string name, double seconds);

    [LoggerMessage(5006, LogLevel.Warning,
        "A direct method completed, but its answer ({Status}) could not be sent: there is no connection.")]
    public static partial void MethodNotAnswered(ILogger logger, int status);

    [LoggerMessage(5007, LogLevel.Information,
        "The clock has stepped by {Seconds:0} s. Connecting now with a new token.")]
    public static partial void ClockStepped(ILogger logger, double seconds);

    [LoggerMessage(5008, LogLevel.Warning,
        "The twin could not be read after connecting ({Reason}); the last good settings stay in force.")]
    public static partial void NotSynchronized(ILogger logger, string reason);

    [LoggerMessage(5009, LogLevel.Error, "The connection failed because of an unexpected error; it is retried.")]
    public static partial void ConnectionFailed(ILogger logger, Exception exception);

    [LoggerMessage(5010, LogLevel.Error, "A message from or to the hub could not be processed.")]
    public static partial void MessageFailed(ILogger logger, Exception exception);

    [LoggerMessage(5011, LogLevel.Debug, "Ignoring a message on the unknown topic {Topic}.")]
    public static partial void UnknownTopic(ILogger logger, string topic);

    [LoggerMessage(5012, LogLevel.Warning,
        "The hub did not accept reported properties (status {Status}); retrying in {Seconds:0.0} s.")]
    public static partial void ReportDelayed(ILogger logger, int status, double seconds);

    [LoggerMessage(5013, LogLevel.Error,
        "The hub refuses reported properties ({Keys}) with status {Status}; they are not reported.")]
    public static partial void ReportRefused(ILogger logger, string keys, int status);

    [LoggerMessage(5014, LogLevel.Error,
        "The reported property {Key} has {Bytes} bytes, more than the hub accepts ({Max}); it is not reported.")]
    public static partial void ReportTooLarge(ILogger logger, string key, int bytes, int max);

    [LoggerMessage(5015, LogLevel.Error,
        "A message to the input {Input} could not be processed; edgeHub delivers it again.")]
    public static partial void InputFailed(ILogger logger, string input, Exception exception);
}
