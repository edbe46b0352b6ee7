using Microsoft.Extensions.Logging;

namespace SensorForwarder.EdgeHub;

internal static partial class Log
{
    [LoggerMessage(5001, LogLevel.Information, "Connected to {Host} as {ClientId} ({Transport}){Proxy}.")]
    public static partial void Connected(
        ILogger logger, string host, string clientId, HubTransport transport, string proxy);

    [LoggerMessage(5002, LogLevel.Warning,
        "No connection to {Host}: {Reason}. Readings are kept; next attempt in {Seconds:0.0} s.")]
    public static partial void Disconnected(ILogger logger, string host, string reason, double seconds);

    [LoggerMessage(5003, LogLevel.Error,
        "{Count} connections in a row were ended by the other side within {Seconds:0} s: the line is bad, or something "
        + "else connects as {ClientId}. Each identity may run once: stop the other, or give it an identity of its own. "
            + "Until then this module tries more rarely.")]
    public static partial void RivalSuspected(ILogger logger, string clientId, int count, double seconds);

    [LoggerMessage(5004, LogLevel.Error, "The direct method {Name} failed.")]
    public static partial void MethodFailed(ILogger logger, string name, Exception exception);

    [LoggerMessage(5005, LogLevel.Error,
        "The direct method {Name} did not end within {Seconds:0} s; its caller has long given up.")]
    public static partial void MethodTooSlow(ILogger logger, string name, double seconds);

    [LoggerMessage(5006, LogLevel.Warning, "A direct method was done, but its answer ({Status}) found no connection.")]
    public static partial void MethodNotAnswered(ILogger logger, int status);

    [LoggerMessage(5007, LogLevel.Information,
        "The clock has stepped by {Seconds:0} s: connecting at once, with a new token.")]
    public static partial void ClockStepped(ILogger logger, double seconds);

    [LoggerMessage(5008, LogLevel.Warning,
        "The twin was not looked at after connecting ({Reason}); the last good settings stay in force.")]
    public static partial void NotSynchronized(ILogger logger, string reason);

    [LoggerMessage(5009, LogLevel.Error, "The connection failed in a way that was not foreseen; it is tried again.")]
    public static partial void ConnectionFailed(ILogger logger, Exception exception);

    [LoggerMessage(5010, LogLevel.Error, "What the hub sent could not be handled.")]
    public static partial void MessageFailed(ILogger logger, Exception exception);

    [LoggerMessage(5011, LogLevel.Debug, "A message on {Topic} is none that this module knows; left alone.")]
    public static partial void UnknownTopic(ILogger logger, string topic);

    [LoggerMessage(5012, LogLevel.Warning,
        "Reported properties were not taken (status {Status}); again in {Seconds:0.0} s.")]
    public static partial void ReportDelayed(ILogger logger, int status, double seconds);

    [LoggerMessage(5013, LogLevel.Error,
        "The hub refuses reported properties ({Keys}) with status {Status}; they are left out.")]
    public static partial void ReportRefused(ILogger logger, string keys, int status);

    [LoggerMessage(5014, LogLevel.Error,
        "The reported property {Key} takes {Bytes} bytes, more than the hub's {Max}; it is left out.")]
    public static partial void ReportTooLarge(ILogger logger, string key, int bytes, int max);
}
