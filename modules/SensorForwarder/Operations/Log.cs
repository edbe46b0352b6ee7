using Microsoft.Extensions.Logging;
using SensorForwarder.Net;

namespace SensorForwarder.Operations;

internal static partial class Log
{
    [LoggerMessage(9001, LogLevel.Information, "Metrics, health and status are on port {Port}.")]
    public static partial void WebListens(ILogger logger, int port);

    [LoggerMessage(9002, LogLevel.Warning,
        "Web__Port: {Port} can't be used ({Reason}). Everything else works; it is tried again every {Seconds} s. "
        + "Choose another port, or 0 to turn it off.")]
    public static partial void WebPortTaken(ILogger logger, int port, string reason, double seconds);

    [LoggerMessage(9003, LogLevel.Warning, "The status could not be reported.")]
    public static partial void StatusNotReported(ILogger logger, Exception exception);

    [LoggerMessage(9004, LogLevel.Information,
        "SensorForwarder {Version} starts as {Identity}; buffer in {Directory}.")]
    public static partial void Starting(ILogger logger, string version, string identity, string directory);

    [LoggerMessage(9005, LogLevel.Warning, "Waiting for the volume: {Reason}")]
    public static partial void WaitingForVolume(ILogger logger, string reason);

    [LoggerMessage(9006, LogLevel.Information, "Stopped; {Depth} readings wait in the buffer.")]
    public static partial void Stopped(ILogger logger, long depth);

    [LoggerMessage(9007, LogLevel.Error, "Not everything stopped in time; what is committed is safe.")]
    public static partial void StoppedLate(ILogger logger, Exception exception);

    [LoggerMessage(9028, LogLevel.Error, "{Parts} did not stop in time; what is committed is safe.")]
    public static partial void StillRuns(ILogger logger, string parts);

    [LoggerMessage(9008, LogLevel.Error, "A request could not be answered.")]
    public static partial void RequestFailed(ILogger logger, Exception exception);

    [LoggerMessage(9010, LogLevel.Information, "Metrics go to {Endpoint} by OTLP every {Seconds} s.")]
    public static partial void OtlpStarts(ILogger logger, string endpoint, double seconds);

    [LoggerMessage(9011, LogLevel.Warning,
        "Metrics do not reach {Endpoint} by OTLP: {Reason}. Nothing else depends on it; it is tried again every "
        + "{Seconds} s.")]
    public static partial void OtlpFails(ILogger logger, string endpoint, string reason, double seconds);

    [LoggerMessage(9012, LogLevel.Information, "Metrics reach {Endpoint} by OTLP again.")]
    public static partial void OtlpWorksAgain(ILogger logger, string endpoint);

    [LoggerMessage(9013, LogLevel.Warning,
        "The health socket {Path} can't be used ({Reason}). The health check asks Web__Port instead; the socket is "
        + "retried every {Seconds} s.")]
    public static partial void HealthSocketFailed(ILogger logger, string path, string reason, double seconds);

    [LoggerMessage(9014, LogLevel.Warning,
        "no_proxy: '{Entry}' is not understood and has no effect. Allowed are *, host names, addresses, ranges such as "
        + "10.0.0.0/8 or 10.*, and a port behind a name or an address.")]
    public static partial void NoProxyEntry(ILogger logger, string entry);

    [LoggerMessage(9020, LogLevel.Warning,
        "{Fault}. Without it no connection is made; it is looked for again at each attempt. Readings are kept.")]
    public static partial void TlsFilesMissing(ILogger logger, string fault);

    [LoggerMessage(9021, LogLevel.Warning,
        "{Fault}. What was read before stays in use; the file is read again before the next connection.")]
    public static partial void TlsFilesBad(ILogger logger, string fault);

    [LoggerMessage(9022, LogLevel.Information, "{Variables}: the files are good again; the next connection uses them.")]
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
        "{File} has a key, and others can read it (mode {Mode}). Run chmod 600 on it; its owner has to be "
        + "the user that the module runs as (uid {User}).")]
    public static partial void KeyExposed(ILogger logger, NamedFile file, string mode, uint user);

    [LoggerMessage(9027, LogLevel.Error,
        "The files of certificates and keys could not be examined; retried in a minute.")]
    public static partial void CertificateWatchFailed(ILogger logger, Exception exception);
}
