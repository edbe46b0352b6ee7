using Microsoft.Extensions.Logging;

namespace SensorForwarder.Intake;

/// <summary>Everything the intake logs. Event ids 6000..6999. What one sender does wrong is counted and shown, and not
/// logged.</summary>
internal static partial class IntakeLog
{
    [LoggerMessage(6001, LogLevel.Information, "Readings of other programs are taken at {Place}.")]
    public static partial void Listens(ILogger logger, string place);

    [LoggerMessage(6002, LogLevel.Warning,
        "Intake__Http: {Place} can't be used ({Reason}). Everything else works; it is tried again every {Seconds} s.")]
    public static partial void PlaceTaken(ILogger logger, string place, string reason, double seconds);

    [LoggerMessage(6003, LogLevel.Error,
        "Intake__TokenFile: {Path} can't be used ({Reason}). Every request is refused with 401 until it can.")]
    public static partial void NoToken(ILogger logger, string path, string reason);

    [LoggerMessage(6004, LogLevel.Warning,
        "Intake__TokenFile: {Path} can be read by users that need not (mode {Mode}). Make it 0600.")]
    public static partial void TokenIsOpen(ILogger logger, string path, string mode);

    [LoggerMessage(6005, LogLevel.Error, "A request of the intake could not be answered.")]
    public static partial void RequestFailed(ILogger logger, Exception exception);
}
