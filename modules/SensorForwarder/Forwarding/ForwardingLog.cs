using Microsoft.Extensions.Logging;

namespace SensorForwarder.Forwarding;

internal static partial class ForwardingLog
{
    [LoggerMessage(3001, LogLevel.Information, "Forwarding to {Where}.")]
    public static partial void Forwarding(ILogger logger, string where);

    [LoggerMessage(3002, LogLevel.Warning,
        "{Where} did not accept batch {Batch}: {Reason}. The batch is kept; retrying in {Seconds:0.0} s.")]
    public static partial void SendFailed(ILogger logger, string where, string batch, string reason, double seconds);

    [LoggerMessage(3003, LogLevel.Error,
        "{Where} denied batch {Batch}: {Reason}. Nothing is dropped. Correct the receiver or the settings; next "
        + "attempt in {Seconds:0.0} s.")]
    public static partial void Denied(ILogger logger, string where, string batch, string reason, double seconds);

    [LoggerMessage(3004, LogLevel.Information, "{Where} accepts batches again after {Failures} failed attempts.")]
    public static partial void Recovered(ILogger logger, string where, int failures);

    [LoggerMessage(3005, LogLevel.Warning, "Splitting batch {Batch} in two. {Where}: {Reason}.")]
    public static partial void Split(ILogger logger, string batch, string where, string reason);

    [LoggerMessage(3006, LogLevel.Error,
        "Moving reading {Id} to the dead letters. {Where}: {Reason}. getDeadLetters shows it, retryDeadLetters sends "
        + "it again.")]
    public static partial void DeadLettered(ILogger logger, long id, string where, string reason);

    [LoggerMessage(3007, LogLevel.Error,
        "The forwarding loop failed; it resumes in {Seconds:0.0} s. No reading is lost.")]
    public static partial void ForwarderFailed(ILogger logger, double seconds, Exception exception);

    [LoggerMessage(3008, LogLevel.Warning,
        "The new state of sent readings could not be saved in the buffer; they are sent again after a restart.")]
    public static partial void AcknowledgeFailed(ILogger logger, Exception exception);

    [LoggerMessage(3009, LogLevel.Information, "Forwarding is {State}.")]
    public static partial void Paused(ILogger logger, string state);

    [LoggerMessage(3010, LogLevel.Information,
        "edgeHub's metrics page {Url} is available: a reading counts as delivered when the page shows that the cloud "
        + "has it.")]
    public static partial void UpstreamPage(ILogger logger, string url);

    [LoggerMessage(3011, LogLevel.Warning,
        "edgeHub has no connection to the cloud ({Messages} messages queued, none of ours sent). Holding readings in "
        + "the local buffer; sending one batch a minute.")]
    public static partial void UpstreamHeld(ILogger logger, long messages);

    [LoggerMessage(3012, LogLevel.Information,
        "edgeHub sends messages to the cloud again. No longer holding readings in the local buffer.")]
    public static partial void UpstreamReleased(ILogger logger);

    [LoggerMessage(3013, LogLevel.Information,
        "edgeHub's metrics page {Url} is not available: a reading counts as delivered when edgeHub has stored it. Set "
        + "EdgeHub__MetricsUrl to edgeHub's page to keep readings until the cloud has them.")]
    public static partial void NoUpstreamPage(ILogger logger, string url);

    [LoggerMessage(3014, LogLevel.Information,
        "edgeHub's metrics page {Url} is no longer available. Keeping the readings that edgeHub accepted until the "
        + "page is back.")]
    public static partial void UpstreamPageGone(ILogger logger, string url);

    [LoggerMessage(3015, LogLevel.Error, "edgeHub lost {Messages} messages; sending {Readings} readings again.")]
    public static partial void UpstreamLost(ILogger logger, long messages, long readings);

    [LoggerMessage(3016, LogLevel.Warning,
        "It is unknown whether {Readings} readings that edgeHub accepted have reached the cloud (edgeHub or this "
        + "module was restarted, or edgeHub's metrics page is gone); sending them again.")]
    public static partial void HandedOverAgain(ILogger logger, long readings);

    [LoggerMessage(3017, LogLevel.Error,
        "edgeHub has no route for output '{Output}' and drops its messages. Add the route FROM "
        + "/messages/modules/{Module}/outputs/{Output} INTO $upstream to the deployment; until then this output gets "
        + "one batch a minute.")]
    public static partial void NoRoute(ILogger logger, string output, string module);

    [LoggerMessage(3018, LogLevel.Error,
        "{Where} has answered batch {Batch} with an error for {Minutes:0} min, {Attempts} attempts: {Answer}. The "
        + "batch is kept and sent again. If the receiver accepts other batches, check what it can't process in this "
        + "one.")]
    public static partial void Stuck(
        ILogger logger, string where, string batch, double minutes, int attempts, string answer);
}
