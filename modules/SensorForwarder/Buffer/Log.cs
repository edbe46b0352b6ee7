using Microsoft.Extensions.Logging;

namespace SensorForwarder.Buffer;

/// <summary>Everything the buffer logs. Event ids 2000..2999. Changes of state only; nothing a reading.</summary>
internal static partial class Log
{
    [LoggerMessage(2001, LogLevel.Information, "Buffer {Path} opened: epoch {Epoch}, {Depth} readings wait")]
    public static partial void Opened(ILogger logger, string path, string epoch, long depth);

    [LoggerMessage(2002, LogLevel.Error, "Buffer storage is {State}: {Reason}. Readings wait in memory")]
    public static partial void StorageFailed(ILogger logger, StorageState state, string reason);

    [LoggerMessage(2003, LogLevel.Information, "Buffer storage takes readings again")]
    public static partial void StorageIsBack(ILogger logger);

    [LoggerMessage(2004, LogLevel.Warning, "The reserve file was given up, so that what is delivered can be deleted")]
    public static partial void ReserveGivenUp(ILogger logger);

    [LoggerMessage(2005, LogLevel.Error, "The last commit before closing failed: {Reason}")]
    public static partial void LastCommitFailed(ILogger logger, string reason);

    [LoggerMessage(2006, LogLevel.Error, "{Count} readings in memory were lost when the buffer was closed")]
    public static partial void LostAtClose(ILogger logger, int count);
}
