using Microsoft.Extensions.Logging;

namespace SensorForwarder.EdgeHub;

internal static partial class Log
{
    [LoggerMessage(5001, LogLevel.Information, "Connected to {Host} as {ClientId}.")]
    public static partial void Connected(ILogger logger, string host, string clientId);

    [LoggerMessage(5002, LogLevel.Warning,
        "No connection to {Host}: {Reason}. Readings are kept; next attempt in {Seconds:0.0} s ({HeldBack} equal lines held back).")]
    public static partial void Disconnected(ILogger logger, string host, string reason, double seconds, int heldBack);

    [LoggerMessage(5003, LogLevel.Error,
        "{Count} connections in a row were closed within seconds: something else seems to connect as {ClientId}. Each identity may run once.")]
    public static partial void RivalSuspected(ILogger logger, string clientId, int count);

    [LoggerMessage(5004, LogLevel.Error, "The direct method {Name} failed.")]
    public static partial void MethodFailed(ILogger logger, string name, Exception exception);
}
