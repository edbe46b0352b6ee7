using Microsoft.Extensions.Logging;
using SensorForwarder.Net;

namespace SensorForwarder.Operations;

internal static partial class OperationsLog
{
    [LoggerMessage(9001, LogLevel.Information, "Metrics, health and status are served on port {Port}.")]
    public static partial void WebListens(ILogger logger, int port);

    [LoggerMessage(9002, LogLevel.Warning,
        "Web__Port: {Port} can't be used ({Reason}). Nothing else is affected; retried every {Seconds} s. Choose "
        + "another port, or 0 to turn it off.")]
    public static partial void WebPortTaken(ILogger logger, int port, string reason, double seconds);

    [LoggerMessage(9003, LogLevel.Warning, "The status could not be reported to the hub; it is retried.")]
    public static partial void StatusNotReported(ILogger logger, Exception exception);

    [LoggerMessage(9004, LogLevel.Information,
        "SensorForwarder {Version} starts as {Identity}; buffer in {Directory}.")]
    public static partial void Starting(ILogger logger, string version, string identity, string directory);

    [LoggerMessage(9005, LogLevel.Warning, "Waiting for the volume: {Reason}")]
    public static partial void WaitingForVolume(ILogger logger, string reason);

    [LoggerMessage(9006, LogLevel.Information, "Stopped; {Depth} readings wait in the buffer.")]
    public static partial void Stopped(ILogger logger, long depth);

    [LoggerMessage(9007, LogLevel.Error, "Not everything stopped in time; committed readings are safe.")]
    public static partial void StoppedLate(ILogger logger, Exception exception);

    [LoggerMessage(9028, LogLevel.Error, "{Parts} did not stop in time; committed readings are safe.")]
    public static partial void StillRuns(ILogger logger, string parts);

    [LoggerMessage(9008, LogLevel.Error, "An HTTP request could not be answered.")]
    public static partial void RequestFailed(ILogger logger, Exception exception);

    [LoggerMessage(9010, LogLevel.Information, "Metrics are pushed to {Endpoint} by OTLP every {Seconds} s.")]
    public static partial void OtlpStarts(ILogger logger, string endpoint, double seconds);

    [LoggerMessage(9011, LogLevel.Warning,
        "Metrics could not be pushed to {Endpoint} by OTLP: {Reason}. Nothing else is affected; retried every "
        + "{Seconds} s.")]
    public static partial void OtlpFails(ILogger logger, string endpoint, string reason, double seconds);

    [LoggerMessage(9012, LogLevel.Information, "Metrics are pushed to {Endpoint} by OTLP again.")]
    public static partial void OtlpWorksAgain(ILogger logger, string endpoint);

    [LoggerMessage(9013, LogLevel.Warning,
        "The socket {Path} can't be used ({Reason}); retried every {Seconds} s. Without health.sock the health check "
        + "asks Web__Port.")]
    public static partial void SocketFailed(ILogger logger, string path, string reason, double seconds);

    [LoggerMessage(9014, LogLevel.Warning,
        "no_proxy: '{Entry}' is invalid and ignored. Allowed are *, host names, addresses, ranges such as 10.0.0.0/8 "
        + "or 10.*, and a port after a name or an address.")]
    public static partial void NoProxyEntry(ILogger logger, string entry);

    [LoggerMessage(9020, LogLevel.Warning,
        "{Fault}. No connection is made without it; each attempt reads it again. Readings are kept.")]
    public static partial void TlsFilesMissing(ILogger logger, string fault);

    [LoggerMessage(9021, LogLevel.Warning,
        "{Fault}. The previous content stays in use; the file is read again before the next connection.")]
    public static partial void TlsFilesBad(ILogger logger, string fault);

    [LoggerMessage(9022, LogLevel.Information,
        "{Variables}: the files are valid again; the next connection uses them.")]
    public static partial void TlsFilesGood(ILogger logger, string variables);

    [LoggerMessage(9023, LogLevel.Information,
        "{Variables}: the files have changed; the next connection uses the new content.")]
    public static partial void TlsFilesRenewed(ILogger logger, string variables);

    [LoggerMessage(9024, LogLevel.Warning,
        "{File} has a certificate of {Subject} that expires at {Until}, in {Days:0.0} days. Replace it, and its key; "
        + "the next connection uses the new one, without a restart.")]
    public static partial void CertificateExpires(
        ILogger logger, NamedFile file, string subject, string until, double days);

    [LoggerMessage(9025, LogLevel.Error,
        "{File} has a certificate of {Subject} that expired at {Until}; this machine's clock says {Now}. Replace it, "
        + "and its key, or set the clock; the next connection uses the new one, without a restart.")]
    public static partial void CertificateExpired(
        ILogger logger, NamedFile file, string subject, string until, string now);

    [LoggerMessage(9026, LogLevel.Warning,
        "{File} is a key that other users can read (mode {Mode}). Run chmod 600 on it; its owner has to be the user "
        + "that the module runs as (uid {User}).")]
    public static partial void KeyExposed(ILogger logger, NamedFile file, string mode, uint user);

    [LoggerMessage(9027, LogLevel.Error,
        "The certificate and key files could not be checked; retried in a minute.")]
    public static partial void CertificateWatchFailed(ILogger logger, Exception exception);
}
