using System.Globalization;
using Microsoft.Extensions.Logging;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>An alarm at one moment, for status, metrics and pages. Immutable.</summary>
/// <param name="Rule">What it watches for.</param>
/// <param name="Since">Since when it is raised; null: it is not.</param>
internal sealed record AlarmStatus(AlarmRule Rule, DateTimeOffset? Since);

/// <summary>The alarms of one sensor. <see cref="Observe"/> is used by its loop; <see cref="Status"/> by any thread.
/// </summary>
internal sealed class SensorAlarms
{
    readonly SensorSettings _settings;
    readonly RaisedAlarms _raised;
    readonly TimeProvider _timeProvider;
    readonly ILogger _logger;
    readonly string? _label;
    readonly long _start;
    readonly IReadOnlyList<AlarmWatch> _watches;

    SensorAlarms(
        SensorSettings settings, IReadOnlyList<AlarmRule> rules, RaisedAlarms raised, TimeProvider timeProvider,
        ILogger logger)
    {
        (_settings, _raised, _timeProvider, _logger) = (settings, raised, timeProvider, logger);
        _label = settings.Get(CommonOptions.Label);
        _start = timeProvider.GetTimestamp();
        _watches = [.. rules.Select(rule => new AlarmWatch(rule, TimeSpan.Zero))];
    }

    /// <summary>Null if the sensor has none.</summary>
    public static SensorAlarms? Of(
        SensorSettings settings, RaisedAlarms raised, TimeProvider timeProvider, ILogger logger) =>
        settings.Get(CommonOptions.Alarms) is { Count: > 0 } rules
            ? new(settings, rules, raised, timeProvider, logger)
            : null;

    public IReadOnlyList<AlarmStatus> Status =>
        [.. _watches.Select(watch => new AlarmStatus(watch.Rule, Find(watch.Rule)?.Since))];

    /// <summary>Takes note of a reading, and stores a report for each alarm that changes its state. A report that the
    /// buffer does not take now is made with a later reading.</summary>
    /// <param name="reading">As measured, whether or not it will be stored.</param>
    public void Observe(Reading reading)
    {
        if (!_raised.IsKnown) return;
        var now = _timeProvider.GetElapsedTime(_start);
        foreach (var watch in _watches)
        {
            var raised = Find(watch.Rule);
            if (watch.Observe(reading, now, raised is not null) is not { } change) continue;
            var rule = watch.Rule;
            var report = new AlarmReport(
                rule.Name, change.IsRaised ? AlarmReport.Raised : AlarmReport.Cleared, rule.Severity,
                rule.ConditionName, raised?.Since ?? reading.Time - change.Held)
            {
                Value = rule.Value,
                Threshold = rule.Condition == AlarmCondition.Bad ? null : rule.Threshold,
                Reason = reading.Quality == ReadingQuality.Bad ? reading.Reason : null,
            };
            var values = reading.Values.Where(value => value.Key == rule.Value).ToList();
            if (!_raised.TryReport(ReadingOf(report, values, reading.Time))) continue;
            var text = string.Concat(values.Select(value =>
                string.Create(CultureInfo.InvariantCulture, $", it is {value.Value}")));
            if (change.IsRaised) SensorsLog.AlarmRaised(_logger, _settings.Name, rule.Name, text, rule.Severity);
            else SensorsLog.AlarmCleared(_logger, _settings.Name, rule.Name, text);
        }
    }

    AlarmReport? Find(AlarmRule rule) => _raised.Find(_settings.Name, rule.Name);

    Reading ReadingOf(
        AlarmReport report, IReadOnlyList<KeyValuePair<string, double>> values, DateTimeOffset time) => new()
        {
            Sensor = _settings.Name,
            Kind = AlarmReport.Kind,
            Label = _label,
            Time = time,
            Values = values,
            Alarm = report,
        };
}
