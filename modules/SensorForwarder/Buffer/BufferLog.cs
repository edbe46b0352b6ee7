using Microsoft.Extensions.Logging;

namespace SensorForwarder.Buffer;

/// <summary>All log messages of the buffer: event ids 2000..2999, changes of state only.</summary>
internal static partial class BufferLog
{
    [LoggerMessage(2001, LogLevel.Information, "Buffer {Path} opened: epoch {Epoch}, {Depth} readings waiting")]
    public static partial void Opened(ILogger logger, string path, string epoch, long depth);

    [LoggerMessage(2002, LogLevel.Error,
        "Buffer storage is {State}: {Reason}. Retrying; readings and changed settings wait in memory")]
    public static partial void StorageFailed(ILogger logger, StorageState state, string reason);

    [LoggerMessage(2003, LogLevel.Information, "Buffer storage is writable again")]
    public static partial void StorageIsBack(ILogger logger);

    [LoggerMessage(2004, LogLevel.Warning,
        "The volume is full: deleted the reserve file, so that delivered readings can be removed")]
    public static partial void ReserveDeleted(ILogger logger);

    [LoggerMessage(2005, LogLevel.Error, "The last commit before closing the buffer failed: {Reason}")]
    public static partial void LastCommitFailed(ILogger logger, string reason);

    [LoggerMessage(2006, LogLevel.Error,
        "The buffer was closed with {Count} readings in memory that could not be written; they are lost")]
    public static partial void LostAtClose(ILogger logger, int count);

    [LoggerMessage(2007, LogLevel.Information,
        "Buffer {Path}: {Reason}; its readings are copied to a new file in the background")]
    public static partial void TakingOver(ILogger logger, string path, string reason);

    [LoggerMessage(2008, LogLevel.Warning,
        "Buffer {Path}: finished replacing a damaged file; the previous start was interrupted while doing so")]
    public static partial void SalvageFinished(ILogger logger, string path);

    [LoggerMessage(2009, LogLevel.Information, "Buffer {Path} was not closed cleanly; checking it in the background")]
    public static partial void Checking(ILogger logger, string path);

    [LoggerMessage(2010, LogLevel.Information, "Buffer {Path}: the check found no damage")]
    public static partial void CheckedWhole(ILogger logger, string path);

    [LoggerMessage(2011, LogLevel.Error,
        "Buffer {Path} is damaged ({Reason}). New readings are stored in a new file; copying the old ones from {Kept} "
        + "in the background")]
    public static partial void SetAside(ILogger logger, string path, string reason, string kept);

    [LoggerMessage(2012, LogLevel.Warning,
        "Salvaged {Kept}: {Readings} readings copied, {Missing} missing")]
    public static partial void SalvageDone(ILogger logger, string kept, long readings, long missing);

    [LoggerMessage(2013, LogLevel.Warning,
        "The salvage of {Kept} waits for free space after {Readings} readings. Free space on the volume, or raise "
        + "bufferMaxMegabytes")]
    public static partial void SalvageWaits(ILogger logger, string kept, long readings);

    [LoggerMessage(2014, LogLevel.Warning,
        "The buffer has reached {Bound}: {What} until enough is delivered or the limit is raised")]
    public static partial void BufferFull(ILogger logger, string bound, string what);

    [LoggerMessage(2015, LogLevel.Information, "The buffer has room again: all readings are kept")]
    public static partial void HasRoomAgain(ILogger logger);

    [LoggerMessage(2016, LogLevel.Error,
        "The limit of {Count} dead letters is reached: each new one deletes the oldest (counted as undeliverable). "
        + "Use getDeadLetters to see them, retryDeadLetters or purgeDeadLetters to make room")]
    public static partial void DeadLettersFull(ILogger logger, int count);

    [LoggerMessage(2017, LogLevel.Error,
        "Buffer {Path} is damaged ({Reason}), and copying its readings to a new file failed: {Error}. The damaged "
        + "file is unchanged. Retrying; check the free space and the permissions of the volume, or move the file away")]
    public static partial void SalvageFailed(ILogger logger, string path, string reason, string error);

    [LoggerMessage(2018, LogLevel.Error,
        "Copying the readings of {Kept} failed after {Readings} readings: {Error}. The file is kept. Retrying every "
        + "{Seconds} s; check that the file is readable")]
    public static partial void SalvageStuck(ILogger logger, string kept, string error, long readings, double seconds);

    [LoggerMessage(2019, LogLevel.Error,
        "The damaged file {Kept} was deleted during its salvage: {Readings} readings were copied, the rest are lost")]
    public static partial void SalvageSourceGone(ILogger logger, string kept, long readings);

    [LoggerMessage(2020, LogLevel.Error,
        "Skipped {Count} records of {Kept} because of a bug in the salvage. The file is kept; please report this")]
    public static partial void SalvageSkipped(ILogger logger, string kept, int count);

    [LoggerMessage(2021, LogLevel.Error,
        "{What}: its readings are copied to a new file in {Directory}. Do not touch the buffer's files while the "
        + "module runs")]
    public static partial void FileLost(ILogger logger, string what, string directory);

    [LoggerMessage(2022, LogLevel.Error,
        "Buffer {Path}: the segment with the readings {First} to {Last} is damaged: {Lost} of them are lost, counted "
        + "as damaged")]
    public static partial void SegmentDamaged(ILogger logger, string path, long first, long last, long lost);
}
