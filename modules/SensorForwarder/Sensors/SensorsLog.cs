using Microsoft.Extensions.Logging;

namespace SensorForwarder.Sensors;

internal static partial class SensorsLog
{
    [LoggerMessage(1001, LogLevel.Information, "Sensor {Name} ({Kind}) is read every {Seconds} s.")]
    public static partial void SensorStarted(ILogger logger, string name, string kind, double seconds);

    [LoggerMessage(1006, LogLevel.Information, "Sensor {Name} is no longer read.")]
    public static partial void SensorStopped(ILogger logger, string name);

    [LoggerMessage(1002, LogLevel.Warning,
        "Sensor {Name} ({Kind}) fails: {Reason}{Detail}. It is read again on its schedule.")]
    public static partial void SensorFails(ILogger logger, string name, string kind, string reason, string detail);

    [LoggerMessage(1003, LogLevel.Information, "Sensor {Name} works again, after {Failures} failed readings.")]
    public static partial void SensorRecovered(ILogger logger, string name, long failures);

    [LoggerMessage(1007, LogLevel.Warning, "Alarm of sensor {Name}: {Alarm}{Value} ({Severity}).")]
    public static partial void AlarmRaised(ILogger logger, string name, string alarm, string value, string severity);

    [LoggerMessage(1008, LogLevel.Information, "The alarm of sensor {Name} is over: {Alarm}{Value}.")]
    public static partial void AlarmCleared(ILogger logger, string name, string alarm, string value);

    [LoggerMessage(1009, LogLevel.Warning,
        "The output of an alarm fails: {Problem}. Retrying every {Seconds} s; sensing continues.")]
    public static partial void OutputFails(ILogger logger, string problem, double seconds);

    [LoggerMessage(1010, LogLevel.Information, "The output of an alarm works again: {Line}.")]
    public static partial void OutputRecovered(ILogger logger, string line);

    [LoggerMessage(1004, LogLevel.Error, "Sensor {Name}: the driver failed with an unexpected exception.")]
    public static partial void SensorThrew(ILogger logger, string name, Exception exception);

    [LoggerMessage(1011, LogLevel.Warning,
        "Sensor {Name}: the window of aggregateSeconds that was open when the module ended is lost: {Reason}.")]
    public static partial void WindowLost(ILogger logger, string name, string reason);

    [LoggerMessage(1005, LogLevel.Error,
        "Sensor {Name}: a reading failed unexpectedly. It is read again on its schedule.")]
    public static partial void SensorLoopFailed(ILogger logger, string name, Exception exception);
}
