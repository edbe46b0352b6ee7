using Microsoft.Extensions.Logging;

namespace SensorForwarder.Intake;

/// <summary>The log messages of the intake. Event ids 6000..6999. Invalid requests are counted and shown in the status,
/// but not logged.</summary>
internal static partial class IntakeLog
{
    [LoggerMessage(6001, LogLevel.Information, "Accepting readings from other programs at {Place}.")]
    public static partial void Listens(ILogger logger, string place);

    [LoggerMessage(6002, LogLevel.Warning,
        "Intake__Http: {Place} can't be used ({Reason}). Nothing else is affected; retrying every {Seconds} s.")]
    public static partial void PlaceTaken(ILogger logger, string place, string reason, double seconds);

    [LoggerMessage(6003, LogLevel.Error,
        "Intake__TokenFile: {Path} can't be used ({Reason}). Every request is refused with 401 until it can.")]
    public static partial void NoToken(ILogger logger, string path, string reason);

    [LoggerMessage(6004, LogLevel.Warning,
        "Intake__TokenFile: {Path} can be read by other users (mode {Mode}). Run chmod 600 on it.")]
    public static partial void TokenIsOpen(ILogger logger, string path, string mode);

    [LoggerMessage(6005, LogLevel.Error, "A request of the intake could not be answered.")]
    public static partial void RequestFailed(ILogger logger, Exception exception);

    [LoggerMessage(6006, LogLevel.Error,
        "A route leads the output of this module back to its own input '{Input}'. These messages are acknowledged and "
        + "not stored. Name the senders in the route, such as FROM /messages/modules/OTHER/* INTO "
        + "BrokeredEndpoint(\"/modules/{Module}/inputs/{Input}\").")]
    public static partial void OwnOutput(ILogger logger, string input, string module);

    [LoggerMessage(6007, LogLevel.Warning,
        "A message of {Source} can't be stored ({Reason}). It became a dead letter; getDeadLetters shows it.")]
    public static partial void DeadLettered(ILogger logger, string source, string reason);

    [LoggerMessage(6008, LogLevel.Warning,
        "{Source} sends more than Intake__ReadingsPerSecond allows. Its messages wait in edgeHub, and so do later "
        + "messages of other senders.")]
    public static partial void Slowed(ILogger logger, string source);

    [LoggerMessage(6009, LogLevel.Debug, "edgeHub redelivered a message of {Source} that is already stored.")]
    public static partial void Repeated(ILogger logger, string source);

    [LoggerMessage(6010, LogLevel.Information, "Sensor {Name} (mqtt): subscribed to its topics at {Broker}.")]
    public static partial void Subscribed(ILogger logger, string name, string broker);

    [LoggerMessage(6011, LogLevel.Warning,
        "Sensor {Name} (mqtt) fails: {Reason}. Retrying within a minute.")]
    public static partial void NotSubscribed(ILogger logger, string name, string reason);

    [LoggerMessage(6012, LogLevel.Error, "The loop of sensor {Name} (mqtt) failed; it continues.")]
    public static partial void SourceFailed(ILogger logger, string name, Exception exception);

    [LoggerMessage(6013, LogLevel.Information,
        "Sensor {Name} (mqtt): its session at {Broker} has ended; the broker no longer keeps messages for it.")]
    public static partial void SessionEnded(ILogger logger, string name, string broker);

    [LoggerMessage(6014, LogLevel.Warning,
        "Sensor {Name} (mqtt): its session at {Broker} could not be ended ({Reason}). The broker continues to "
            + "keep messages for the client id {ClientId}.")]
    public static partial void SessionRemains(
        ILogger logger, string name, string broker, string clientId, string reason);

    [LoggerMessage(6015, LogLevel.Warning,
        "Sensor {Name} (mqtt): {Broker} no longer has its session. Messages that were published while the sensor was "
            + "disconnected are lost. Configure the broker to keep sessions (Mosquitto: persistence true).")]
    public static partial void SessionLost(ILogger logger, string name, string broker);

    [LoggerMessage(6016, LogLevel.Warning,
        "Sensor {Name} (mqtt): its alarms watch at most {Most} sensors; {Sensor} and later ones are not watched. Split "
            + "its topics between several entries.")]
    public static partial void TooManyWatched(ILogger logger, string name, int most, string sensor);
}
