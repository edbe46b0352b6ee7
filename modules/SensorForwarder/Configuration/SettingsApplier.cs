using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;

namespace SensorForwarder.Configuration;

/// <summary>Puts settings into force. Each part compares for itself, so that only what changed is restarted.</summary>
internal sealed class SettingsApplier(
    LogLevelSwitch logLevel, TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler)
{
    public async Task ApplyAsync(Settings settings, CancellationToken cancellationToken)
    {
        logLevel.Level = settings.LogLevel;
        buffer.ApplyLimits(settings.Buffer);
        forwarder.Apply(settings.Forwarding);
        await scheduler.ApplyAsync(settings.Sensors, cancellationToken);
    }
}
