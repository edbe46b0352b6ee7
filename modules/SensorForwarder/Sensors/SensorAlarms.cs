using System.Globalization;
using Microsoft.Extensions.Logging;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>The state of an alarm, for status, metrics and page. Immutable.</summary>
/// <param name="Sensor">The sensor that it watches.</param>
/// <param name="Rule">What it watches for.</param>
/// <param name="Since">Since when it is raised; null: it is not.</param>
internal sealed record AlarmStatus(string Sensor, AlarmRule Rule, DateTimeOffset? Since);

/// <summary>The effect of a reading on the alarms of its sensor.</summary>
internal enum AlarmOutcome
{
    /// <summary>No alarm changed its state.</summary>
    Unchanged,

    /// <summary>A change was reported. It is on the medium after the next commit.</summary>
    Reported,

    /// <summary>A change could not be reported now. It is reported when this reading is observed again, or a later one.
    /// </summary>
    Refused,
}

/// <summary>The alarms of one sensor. <see cref="Observe"/> is used by its loop; <see cref="Status"/> by any thread.
/// </summary>
internal sealed class SensorAlarms(
    SensorSettings settings, string sensor, RaisedAlarms alarms, TimeProvider timeProvider, ILogger logger)
{
    readonly string? _label = settings.Get(CommonOptions.Label);
    readonly Tags _tags = settings.Get(CommonOptions.Tags);
    readonly long _start = timeProvider.GetTimestamp();
    readonly IReadOnlyList<AlarmWatch> _watches =
        [.. settings.Get(CommonOptions.Alarms).Select(rule => new AlarmWatch(rule))];

    /// <summary>Null if the sensor has none.</summary>
    /// <param name="settings">The entry of the settings.</param>
    /// <param name="sensor">The sensor in readings: one entry may be for several whose readings are pushed.</param>
    public static SensorAlarms? Of(
        SensorSettings settings, string sensor, RaisedAlarms raised, TimeProvider timeProvider, ILogger logger) =>
        settings.Get(CommonOptions.Alarms).Count > 0 ? new(settings, sensor, raised, timeProvider, logger) : null;

    public IReadOnlyList<AlarmStatus> Status =>
        [.. _watches.Select(watch => new AlarmStatus(sensor, watch.Rule, Find(watch.Rule)?.Since))];

    /// <summary>Processes a reading, and stores a report for each alarm that changes its state. A report that the
    /// buffer does not accept now is made with a later reading.</summary>
    /// <param name="reading">As measured, whether or not it will be stored.</param>
    /// <param name="isOld">See <see cref="AlarmWatch.Observe"/>.</param>
    public AlarmOutcome Observe(Reading reading, bool isOld = false)
    {
        if (!alarms.IsKnown) return AlarmOutcome.Refused;
        var outcome = AlarmOutcome.Unchanged;
        var now = timeProvider.GetElapsedTime(_start);
        foreach (var watch in _watches)
        {
            var raised = Find(watch.Rule);
            if (watch.Observe(reading, now, raised is not null, isOld) is not { } change) continue;
            var reported = TryReport(reading, watch.Rule, change, raised)
                ? AlarmOutcome.Reported
                : AlarmOutcome.Refused;
            if (reported > outcome) outcome = reported;
        }

        return outcome;
    }

    bool TryReport(Reading reading, AlarmRule rule, AlarmChange change, AlarmReport? raised)
    {
        var report = new AlarmReport(
            rule.Name, change.IsRaised ? AlarmReport.Raised : AlarmReport.Cleared, rule.Severity,
            rule.ConditionName, raised?.Since ?? reading.Time - change.Held)
        {
            Value = rule.Value,
            Threshold = rule.Condition == AlarmCondition.Bad ? null : rule.Threshold,
            Reason = reading.Quality == ReadingQuality.Bad ? reading.Reason : null,
        };
        var values = reading.Values.Where(value => value.Key == rule.Value).ToList();
        var isStored = alarms.TryReport(settings.Name, new()
        {
            Sensor = sensor,
            Kind = AlarmReport.Kind,
            Label = _label,
            Tags = _tags,
            Time = reading.Time,
            Values = values,
            Alarm = report,
        });
        if (!isStored) return false;
        var text = string.Concat(values.Select(value =>
            string.Create(CultureInfo.InvariantCulture, $", it is {value.Value}")));
        if (change.IsRaised) SensorsLog.AlarmRaised(logger, sensor, rule.Name, text, rule.Severity);
        else SensorsLog.AlarmCleared(logger, sensor, rule.Name, text);
        return true;
    }

    AlarmReport? Find(AlarmRule rule) => alarms.Find(settings.Name, sensor, rule.Name);
}
