using Microsoft.Extensions.Logging;

namespace SensorForwarder.Forwarding;

internal static partial class Log
{
    [LoggerMessage(3001, LogLevel.Information, "Forwarding to {Where}.")]
    public static partial void Forwarding(ILogger logger, string where);

    [LoggerMessage(3002, LogLevel.Warning,
        "{Where} does not take batch {Batch}: {Reason}. It is kept and sent again in {Seconds:0.0} s.")]
    public static partial void SendFailed(ILogger logger, string where, string batch, string reason, double seconds);

    [LoggerMessage(3003, LogLevel.Error,
        "{Where} denies batch {Batch}: {Reason}. Nothing is dropped, but somebody has to act; next attempt in "
        + "{Seconds:0.0} s.")]
    public static partial void Denied(ILogger logger, string where, string batch, string reason, double seconds);

    [LoggerMessage(3004, LogLevel.Information, "{Where} takes batches again, after {Failures} failed attempts.")]
    public static partial void Recovered(ILogger logger, string where, int failures);

    [LoggerMessage(3005, LogLevel.Warning, "Batch {Batch} is split: {Where} {Reason}.")]
    public static partial void Split(ILogger logger, string batch, string where, string reason);

    [LoggerMessage(3006, LogLevel.Error,
        "Reading {Id} goes to the dead letters: {Where} {Reason}. See getDeadLetters and retryDeadLetters.")]
    public static partial void DeadLettered(ILogger logger, long id, string where, string reason);

    [LoggerMessage(3007, LogLevel.Error, "The forwarder failed and starts over in {Seconds:0.0} s; nothing is lost.")]
    public static partial void ForwarderFailed(ILogger logger, double seconds, Exception exception);

    [LoggerMessage(3008, LogLevel.Warning,
        "An acknowledgement could not be stored; its readings will be sent again after a restart.")]
    public static partial void AcknowledgeFailed(ILogger logger, Exception exception);

    [LoggerMessage(3009, LogLevel.Information, "Forwarding is {State}.")]
    public static partial void Paused(ILogger logger, string state);

    [LoggerMessage(3010, LogLevel.Information, "edgeHub's metrics page {Url} is {State}.")]
    public static partial void UpstreamPage(ILogger logger, string url, string state);

    [LoggerMessage(3011, LogLevel.Warning,
        "edgeHub does not get rid of what it has ({Messages:0} messages wait in it): readings are kept here, one batch "
        + "a minute goes.")]
    public static partial void UpstreamHeld(ILogger logger, double messages);

    [LoggerMessage(3012, LogLevel.Information,
        "edgeHub gets through to the cloud again: readings are no longer kept back.")]
    public static partial void UpstreamReleased(ILogger logger);
}
