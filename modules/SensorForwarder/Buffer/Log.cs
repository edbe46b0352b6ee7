using Microsoft.Extensions.Logging;

namespace SensorForwarder.Buffer;

/// <summary>Everything the buffer logs. Event ids 2000..2999. Changes of state only; nothing a reading.</summary>
internal static partial class Log
{
    [LoggerMessage(2001, LogLevel.Information, "Buffer {Path} opened: epoch {Epoch}, {Depth} readings wait")]
    public static partial void Opened(ILogger logger, string path, string epoch, long depth);

    [LoggerMessage(2002, LogLevel.Error,
        "Buffer storage is {State}: {Reason}. Readings and changed settings wait in memory")]
    public static partial void StorageFailed(ILogger logger, StorageState state, string reason);

    [LoggerMessage(2003, LogLevel.Information, "Buffer storage takes readings again")]
    public static partial void StorageIsBack(ILogger logger);

    [LoggerMessage(2004, LogLevel.Warning, "The reserve file was given up, so that what is delivered can be deleted")]
    public static partial void ReserveGivenUp(ILogger logger);

    [LoggerMessage(2005, LogLevel.Error, "The last commit before closing failed: {Reason}")]
    public static partial void LastCommitFailed(ILogger logger, string reason);

    [LoggerMessage(2006, LogLevel.Error, "{Count} readings in memory were lost when the buffer was closed")]
    public static partial void LostAtClose(ILogger logger, int count);

    [LoggerMessage(2007, LogLevel.Error,
        "Buffer {Path} was damaged ({Reason}): {Readings} readings salvaged, {Missing} missing, old file kept as "
        + "{Kept}")]
    public static partial void Salvaged(
        ILogger logger, string path, string reason, long readings, long missing, string kept);

    [LoggerMessage(2008, LogLevel.Warning, "Buffer {Path}: an interrupted salvage was finished")]
    public static partial void SalvageFinished(ILogger logger, string path);

    [LoggerMessage(2009, LogLevel.Information, "Buffer {Path} was not closed properly; it is checked beside the work")]
    public static partial void Checking(ILogger logger, string path);

    [LoggerMessage(2010, LogLevel.Information, "Buffer {Path}: the check found no damage")]
    public static partial void CheckedWhole(ILogger logger, string path);

    [LoggerMessage(2011, LogLevel.Error,
        "Buffer {Path} is damaged ({Reason}) and big: new readings go to a new file; those in {Kept} are salvaged "
        + "beside the work")]
    public static partial void SetAside(ILogger logger, string path, string reason, string kept);

    [LoggerMessage(2012, LogLevel.Warning,
        "The salvage of {Kept} is done: {Readings} readings salvaged, {Missing} missing")]
    public static partial void SalvageDone(ILogger logger, string kept, long readings, long missing);

    [LoggerMessage(2013, LogLevel.Warning,
        "The salvage of {Kept} waits for room after {Readings} readings: free some on the volume, or raise "
        + "bufferMaxMegabytes")]
    public static partial void SalvageWaits(ILogger logger, string kept, long readings);

    [LoggerMessage(2014, LogLevel.Warning,
        "The buffer has reached its {Megabytes} MB: {What}, until enough was sent or there is more room")]
    public static partial void GivesUp(ILogger logger, long megabytes, string what);

    [LoggerMessage(2015, LogLevel.Information, "The buffer has room again: no reading is given up any more")]
    public static partial void HasRoomAgain(ILogger logger);

    [LoggerMessage(2016, LogLevel.Error,
        "There are {Count} dead letters, and no more are kept: each further one pushes out the oldest for good "
        + "(counted as undeliverable). See getDeadLetters, retryDeadLetters and purgeDeadLetters")]
    public static partial void GivesUpLetters(ILogger logger, int count);

    [LoggerMessage(2017, LogLevel.Error,
        "Buffer {Path} is damaged ({Reason}), and copying its readings to a new file failed: {Error}. The damaged "
        + "file is unchanged. Retrying; check the free space and the permissions of the volume, or move the file away")]
    public static partial void SalvageFailed(ILogger logger, string path, string reason, string error);

    [LoggerMessage(2018, LogLevel.Error,
        "Copying the readings of the damaged file {Kept} failed: {Error}. The file is kept. {Readings} readings are "
        + "copied so far and are forwarded when the rest is. Retrying every {Seconds} s; check that it can be read")]
    public static partial void SalvageStuck(ILogger logger, string kept, string error, long readings, double seconds);

    [LoggerMessage(2019, LogLevel.Error,
        "The damaged file {Kept} is gone before all of its readings were copied: {Readings} were, the rest are lost")]
    public static partial void SalvageSourceGone(ILogger logger, string kept, long readings);

    [LoggerMessage(2020, LogLevel.Error,
        "{Count} records of {Kept} were skipped because of a fault of the program. The file is kept; please report "
        + "this")]
    public static partial void SalvageSkipped(ILogger logger, string kept, int count);
}
