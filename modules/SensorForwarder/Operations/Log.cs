using Microsoft.Extensions.Logging;

namespace SensorForwarder.Operations;

internal static partial class Log
{
    [LoggerMessage(9001, LogLevel.Information, "Metrics, health and status are on port {Port}.")]
    public static partial void WebListens(ILogger logger, int port);

    [LoggerMessage(9002, LogLevel.Warning,
        "Web__Port: {Port} can't be used ({Reason}). Everything else works; it is tried again every {Seconds} s. Choose another port, or 0 to turn it off.")]
    public static partial void WebPortTaken(ILogger logger, int port, string reason, double seconds);

    [LoggerMessage(9003, LogLevel.Warning, "The status could not be reported.")]
    public static partial void StatusNotReported(ILogger logger, Exception exception);

    [LoggerMessage(9004, LogLevel.Information, "SensorForwarder {Version} starts as {Identity}; buffer in {Directory}.")]
    public static partial void Starting(ILogger logger, string version, string identity, string directory);

    [LoggerMessage(9005, LogLevel.Warning, "Waiting for the volume: {Reason}")]
    public static partial void WaitingForVolume(ILogger logger, string reason);

    [LoggerMessage(9006, LogLevel.Information, "Stopped; {Depth} readings wait in the buffer.")]
    public static partial void Stopped(ILogger logger, long depth);

    [LoggerMessage(9007, LogLevel.Error, "Not everything stopped in time; what is committed is safe.")]
    public static partial void StoppedLate(ILogger logger, Exception exception);

    [LoggerMessage(9008, LogLevel.Error, "A request could not be answered.")]
    public static partial void RequestFailed(ILogger logger, Exception exception);

    [LoggerMessage(9010, LogLevel.Information, "Metrics go to {Endpoint} by OTLP every {Seconds} s.")]
    public static partial void OtlpStarts(ILogger logger, string endpoint, double seconds);

    [LoggerMessage(9011, LogLevel.Warning, "Metrics do not reach {Endpoint} by OTLP: {Reason}. Nothing else depends on it; it is tried again every {Seconds} s.")]
    public static partial void OtlpFails(ILogger logger, string endpoint, string reason, double seconds);

    [LoggerMessage(9012, LogLevel.Information, "Metrics reach {Endpoint} by OTLP again.")]
    public static partial void OtlpWorksAgain(ILogger logger, string endpoint);

    [LoggerMessage(9013, LogLevel.Warning,
        "The health socket {Path} can't be used ({Reason}). The health check asks Web__Port instead; the socket is retried every {Seconds} s.")]
    public static partial void HealthSocketFailed(ILogger logger, string path, string reason, double seconds);

    [LoggerMessage(9014, LogLevel.Warning,
        "no_proxy: '{Entry}' is not understood and has no effect. Allowed are *, host names, addresses, ranges such as "
        + "10.0.0.0/8 or 10.*, and a port behind a name or an address.")]
    public static partial void NoProxyEntry(ILogger logger, string entry);
}
