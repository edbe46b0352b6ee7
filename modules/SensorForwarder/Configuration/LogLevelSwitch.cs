using Microsoft.Extensions.Logging;

namespace SensorForwarder.Configuration;

/// <summary>The lowest level that is logged. It can be changed while loggers exist. Thread-safe.</summary>
internal sealed class LogLevelSwitch(LogLevel level)
{
    volatile int _level = (int)level;

    public LogLevel Level
    {
        get => (LogLevel)_level;
        set => _level = (int)value;
    }

    public bool IsEnabled(LogLevel level) => (int)level >= _level;
}
