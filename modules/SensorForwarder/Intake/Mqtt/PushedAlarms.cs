using System.Text.Json;
using Microsoft.Extensions.Logging;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>
/// The alarms of one entry of kind <c>mqtt</c>. Each sensor in the readings has separate alarms, from its first reading
/// on. The names of the sensors are saved, so that silence since a restart is noticed. The session passes every stored
/// reading; a timer checks for silence and lasting faults. Thread-safe.
/// </summary>
internal sealed class PushedAlarms : IDisposable
{
    /// <summary>The most sensors of one entry that are watched.</summary>
    public const int MaxSensors = 200;

    static readonly TimeSpan LookAtLeastEvery = TimeSpan.FromMinutes(1), LookAtMostEvery = TimeSpan.FromSeconds(1);

    // Silence or a fault is noticed at most a tenth of its time late.
    const int LooksPerPatience = 10;

    // A value that no alarm watches.
    static readonly KeyValuePair<string, double>[] Unnamed = [new("", double.NaN)];

    readonly SensorSettings _settings;
    readonly RaisedAlarms _raised;
    readonly TimeProvider _timeProvider;
    readonly ILogger _log;
    readonly ITimer? _timer;
    readonly Lock _gate = new();

    // Guarded by _gate.
    readonly OrderedDictionary<string, SensorAlarms> _sensors = new(StringComparer.Ordinal);
    readonly string? _only;
    string? _fault;
    bool _isRestored;
    bool _isFull;
    bool _isDisposed;

    PushedAlarms(SensorSettings settings, string? only, RaisedAlarms raised, TimeProvider timeProvider, ILogger log)
    {
        (_settings, _only, _raised, _timeProvider, _log) = (settings, only, raised, timeProvider, log);
        if (LookEvery(settings.Get(CommonOptions.Alarms)) is { } every)
            _timer = timeProvider.CreateTimer(_ => Look([]), null, every, every);
    }

    /// <summary>Creates the alarms of an entry; null: it has none.</summary>
    /// <param name="settings">The entry.</param>
    /// <param name="only">The sensor of all readings, which is watched even before its first reading; null: the sensors
    /// depend on the topic.</param>
    public static PushedAlarms? Of(
        SensorSettings settings, string? only, RaisedAlarms raised, TimeProvider timeProvider, ILogger log) =>
        settings.Get(CommonOptions.Alarms).Count > 0 ? new(settings, only, raised, timeProvider, log) : null;

    public IReadOnlyList<AlarmStatus> Status
    {
        get
        {
            lock (_gate) return !TryRestore() ? [] : [.. _sensors.Values.SelectMany(alarms => alarms.Status)];
        }
    }

    /// <summary>Sets the reason why no messages can arrive; null: they can.</summary>
    public void NoteFault(string? reason)
    {
        lock (_gate)
        {
            var isOver = _fault is not null && reason is null;
            _fault = reason;
            if (reason is not null) Look([]);
            else if (isOver) Look(Unnamed);
        }
    }

    /// <summary>Checks the readings of a message.</summary>
    /// <param name="payloads">The readings as they were stored.</param>
    /// <param name="message">The message.</param>
    /// <returns>The most important outcome of all readings.</returns>
    public AlarmOutcome Observe(PayloadList payloads, MqttMessage message)
    {
        var outcome = AlarmOutcome.Unchanged;
        lock (_gate)
        {
            if (_isDisposed) return outcome;
            if (!TryRestore()) return AlarmOutcome.Refused;
            foreach (var payload in payloads)
            {
                if (TryRead(payload, message.ArrivedAt) is { } reading
                    && Find(reading.Sensor)?.Observe(reading, isOld: message.IsRetained) is { } one && one > outcome)
                    outcome = one;
            }
        }

        return outcome;
    }

    /// <summary>Deletes the saved sensors of an entry that has no alarms any more.</summary>
    public void Forget() => _raised.SaveSensors(_settings.Name, []);

    public void Dispose()
    {
        lock (_gate) _isDisposed = true;
        _timer?.Dispose();
    }

    static TimeSpan? LookEvery(IReadOnlyList<AlarmRule> rules)
    {
        var patience = rules.Select(rule => rule.Condition switch
        {
            AlarmCondition.SilentForSeconds => TimeSpan.FromSeconds(rule.Threshold),
            AlarmCondition.Bad when rule.For > TimeSpan.Zero => rule.For,
            AlarmCondition.Bad => LooksPerPatience * LookAtLeastEvery, // noticed at once, unless the buffer is full
            _ => (TimeSpan?)null,
        }).Min();
        if (patience is not { } shortest) return null;
        var every = shortest / LooksPerPatience;
        return every < LookAtMostEvery ? LookAtMostEvery : every > LookAtLeastEvery ? LookAtLeastEvery : every;
    }

    /// <summary>Checks all alarms without a message.</summary>
    /// <param name="values">Empty, or <see cref="Unnamed"/>: messages can arrive again, which does not end
    /// silence.</param>
    void Look(IReadOnlyList<KeyValuePair<string, double>> values)
    {
        try
        {
            lock (_gate)
            {
                if (_isDisposed || !TryRestore()) return;
                var now = _timeProvider.GetUtcNow();
                foreach (var (name, alarms) in _sensors)
                {
                    var reading = new Reading
                    {
                        Sensor = name,
                        Kind = MqttPayloads.Kind,
                        Time = now,
                        Quality = _fault is null ? ReadingQuality.Good : ReadingQuality.Bad,
                        Reason = _fault,
                        Values = values,
                    };
                    alarms.Observe(reading, isOld: true);
                }
            }
        }
        catch (Exception exception)
        {
            // An exception in the timer's callback would end the process.
            IntakeLog.SourceFailed(_log, _settings.Name, exception);
        }
    }

    /// <summary>Watches the sensors that were watched before a restart.</summary>
    /// <returns>False: they can't be read now.</returns>
    bool TryRestore()
    {
        if (_isRestored) return true;
        if (!_raised.IsKnown || _raised.LoadSensors(_settings.Name) is not { } saved) return false;
        _isRestored = true;
        foreach (var name in _raised.SensorsOf(_settings.Name).Concat(_only is null ? saved : [_only])) Watch(name);
        return true;
    }

    SensorAlarms? Find(string sensor)
    {
        if (_sensors.TryGetValue(sensor, out var alarms)) return alarms;
        var added = Watch(sensor);
        if (added is not null && _only is null && _timer is not null)
            _raised.SaveSensors(_settings.Name, _sensors.Keys);
        return added;
    }

    SensorAlarms? Watch(string sensor)
    {
        if (_sensors.Count >= MaxSensors)
        {
            if (!_isFull) IntakeLog.TooManyWatched(_log, _settings.Name, MaxSensors, sensor);
            _isFull = true;
            return null;
        }

        return _sensors[sensor] = SensorAlarms.Of(_settings, sensor, _raised, _timeProvider, _log)!;
    }

    /// <summary>Parses what alarms need of a stored payload. The time is that of arrival, because the sender's clock
    /// may be wrong.</summary>
    /// <returns>Null: a string contains an unpaired surrogate.</returns>
    static Reading? TryRead(ReadOnlyMemory<byte> payload, DateTimeOffset arrivedAt)
    {
        try
        {
            using var json = JsonDocument.Parse(payload);
            return Read(json.RootElement, arrivedAt);
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }

    static Reading Read(JsonElement data, DateTimeOffset arrivedAt)
    {
        var quality = data.GetProperty("quality").GetString() switch
        {
            "bad" => ReadingQuality.Bad,
            "uncertain" => ReadingQuality.Uncertain,
            _ => ReadingQuality.Good,
        };
        List<KeyValuePair<string, double>> values = [];
        if (data.TryGetProperty("values", out var given) && given.ValueKind == JsonValueKind.Object)
        {
            values = [.. given.EnumerateObject().Where(value => value.Value.ValueKind == JsonValueKind.Number)
                .Select(value => KeyValuePair.Create(value.Name, value.Value.GetDouble()))];
        }

        // Texts and values that are not readings end silence, too.
        if (values.Count == 0 && quality != ReadingQuality.Bad) values.AddRange(Unnamed);
        return new()
        {
            Sensor = data.GetProperty("sensor").GetString()!,
            Kind = MqttPayloads.Kind,
            Time = arrivedAt,
            Quality = quality,
            Reason = data.TryGetProperty("reason", out var reason) ? reason.GetString() : null,
            Values = values,
        };
    }
}
