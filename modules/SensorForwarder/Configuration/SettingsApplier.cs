using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Intake.Mqtt;
using SensorForwarder.Sensors;

namespace SensorForwarder.Configuration;

/// <summary>Applies settings to the parts of the module. Each part restarts only what changed. Used by
/// <see cref="SettingsStore"/>, one call at a time.</summary>
internal sealed class SettingsApplier(
    LogLevelSwitch logLevel, TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler,
    MqttIntake? mqtt = null)
{
    public async Task ApplyAsync(Settings settings, CancellationToken cancellationToken)
    {
        logLevel.Level = settings.LogLevel;
        buffer.ApplyLimits(settings.Buffer);
        forwarder.Apply(settings.Forwarding);

        // The scheduler is last: it also removes alarms of MQTT sensors, which must not raise them any more.
        if (mqtt is not null) await mqtt.ApplyAsync(settings.Sensors, cancellationToken);
        await scheduler.ApplyAsync(settings.Sensors, cancellationToken);
    }
}
