using Microsoft.Extensions.Logging;

namespace SensorForwarder.Configuration;

internal static partial class ConfigurationLog
{
    [LoggerMessage(4001, LogLevel.Warning, "Setting {Key} is refused: {Reason}. In force: {Value}.")]
    public static partial void SettingRefused(ILogger logger, string key, string reason, string value);

    [LoggerMessage(4002, LogLevel.Warning, "Ignored setting {Message}.")]
    public static partial void SettingUnknown(ILogger logger, string message);

    [LoggerMessage(4004, LogLevel.Information, "Settings are read from {Path}.")]
    public static partial void SettingsFileRead(ILogger logger, string path);

    [LoggerMessage(4005, LogLevel.Warning,
        "Settings__File: {Path} is ignored: {Reason}. The settings in force stay until the file is fixed.")]
    public static partial void SettingsFileBad(ILogger logger, string path, string reason);

    [LoggerMessage(4006, LogLevel.Information, "Desired properties version {Version} are in force.")]
    public static partial void TwinApplied(ILogger logger, long version);

    [LoggerMessage(4007, LogLevel.Warning,
        "The twin could not be read (status {Status}); the last good settings stay in force.")]
    public static partial void TwinNotRead(ILogger logger, int status);

    [LoggerMessage(4008, LogLevel.Warning,
        "The twin is invalid: {Reason}; the last good settings stay in force.")]
    public static partial void TwinUnreadable(ILogger logger, string reason);

    [LoggerMessage(4009, LogLevel.Information,
        "The hub does not have the twin yet; the last good settings stay in force until it sends one.")]
    public static partial void TwinEmpty(ILogger logger);

    [LoggerMessage(4010, LogLevel.Error, "Changed settings ({Keys}) were {Reason}.")]
    public static partial void RolledBack(ILogger logger, string keys, string reason);

    [LoggerMessage(4011, LogLevel.Error, "Processing the twin failed; the last good settings stay in force.")]
    public static partial void TwinFailed(ILogger logger, Exception exception);

    [LoggerMessage(4012, LogLevel.Information,
        "Changed settings are on trial ({Keys}). They are rolled back if nothing can be forwarded for {Minutes} "
        + "minutes.")]
    public static partial void TrialBegun(ILogger logger, double minutes, string keys);

    [LoggerMessage(4013, LogLevel.Information, "Changed settings passed their trial and stay in force.")]
    public static partial void TrialPassed(ILogger logger);

    [LoggerMessage(4015, LogLevel.Error,
        "The settings of the last run can't be read ({Reason}). "
        + "Settings file and defaults are in force until the hub sends the twin.")]
    public static partial void SettingsNotLoaded(ILogger logger, string reason);

    [LoggerMessage(4014, LogLevel.Error, "The trial of changed settings could not be checked; retried in 5 seconds.")]
    public static partial void TrialFailed(ILogger logger, Exception exception);

    [LoggerMessage(4040, LogLevel.Warning, "{Note}.")]
    public static partial void SettingNote(ILogger logger, string note);
}
