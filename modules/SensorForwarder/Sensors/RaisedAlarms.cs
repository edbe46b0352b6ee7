using System.Buffers;
using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.Sensors;

/// <summary>
/// The raised alarms of all sensors. Stored as one document, in the transaction of the reading that reports the change:
/// a kill loses both or neither, so that no change is reported twice or not at all. The key of an alarm is its entry in
/// the settings, its sensor (named as the entry, unless readings are pushed) and its name. Thread-safe.
/// </summary>
/// <param name="buffer">Null: the alarms are kept in memory, and nothing is reported.</param>
internal sealed class RaisedAlarms(TelemetryBuffer? buffer)
{
    const string Document = "alarms";

    const string SensorsPrefix = "alarms.sensors.";

    // Separates an entry from a sensor with another name, and names from each other. Names do not contain it.
    const char Between = '\n';

    readonly Lock _gate = new();

    /// <summary>Raised on any thread when an alarm may have been raised or cleared. Handlers only signal.</summary>
    public event Action? Changed;

    volatile ImmutableDictionary<AlarmKey, AlarmReport>? _raised; // changed under _gate

    /// <summary>Whether the state of alarms has been read from the buffer. Nothing is reported before.</summary>
    public bool IsKnown => _raised is not null || TryLoad();

    /// <summary>The report of a raised alarm; null: the alarm is not raised.</summary>
    public AlarmReport? Find(string entry, string sensor, string alarm) =>
        _raised?.GetValueOrDefault(new(entry, sensor, alarm));

    /// <summary>Whether an alarm of an entry is raised for any sensor.</summary>
    public bool IsRaised(string entry, string alarm) =>
        _raised?.Keys.Any(key => key.Entry == entry && key.Alarm == alarm) == true;

    /// <summary>The sensors of an entry that have raised alarms.</summary>
    public IEnumerable<string> SensorsOf(string entry) =>
        _raised?.Keys.Where(key => key.Entry == entry).Select(key => key.Sensor).Distinct() ?? [];

    /// <summary>The saved names of the sensors of an entry whose readings are pushed; null: the buffer can't be read
    /// now.</summary>
    public IReadOnlyList<string>? LoadSensors(string entry)
    {
        try
        {
            return buffer?.LoadDocument(SensorsPrefix + entry) is { Length: > 0 } saved
                ? Encoding.UTF8.GetString(saved.Span).Split(Between)
                : [];
        }
        catch (BufferUnavailableException)
        {
            return null;
        }
    }

    /// <summary>Saves names with the next commit.</summary>
    public void SaveSensors(string entry, IEnumerable<string> sensors) => buffer?.SaveDocumentsWithNextCommit(
        (SensorsPrefix + entry, Encoding.UTF8.GetBytes(string.Join(Between, sensors))));

    /// <summary>Stores the report that an alarm was raised, cleared or removed, and its new state. Call this when <see
    /// cref="IsKnown"/>.</summary>
    /// <returns>False: the buffer accepts nothing now, and the state is unchanged.</returns>
    public bool TryReport(string entry, Reading reading)
    {
        var report = reading.Alarm!;
        var key = new AlarmKey(entry, reading.Sensor, report.Name);
        ValueTask<long> stored = default;
        lock (_gate)
        {
            var before = _raised!;
            var after = report.State == AlarmReport.Raised ? before.SetItem(key, report) : before.Remove(key);
            if (buffer?.TryEnqueueUrgent(reading, Document, Write(after), out stored) == false) return false;
            _raised = after;
            if (buffer is not null) _ = RevertIfRefusedAsync(stored, key, before.GetValueOrDefault(key));
        }

        Changed?.Invoke();
        return true;
    }

    /// <summary>Reports as removed the raised alarms of sensors that are no longer read or no longer have the alarm.
    /// </summary>
    public void RemoveOthers(IEnumerable<SensorSettings> sensors, DateTimeOffset now)
    {
        if (!IsKnown || _raised!.IsEmpty) return;
        var there = sensors.SelectMany(sensor => sensor.Get(CommonOptions.Alarms).Select(rule =>
            (sensor.Name, rule.Name))).ToHashSet();
        foreach (var (key, report) in _raised.Where(alarm => !there.Contains((alarm.Key.Entry, alarm.Key.Alarm))))
        {
            TryReport(key.Entry, new()
            {
                Sensor = key.Sensor,
                Kind = AlarmReport.Kind,
                Time = now,
                Alarm = report with { State = AlarmReport.Removed, Reason = null },
            });
        }
    }

    // The buffer became full and refused a reading that it had taken: the change is reported with a later reading.
    async Task RevertIfRefusedAsync(ValueTask<long> stored, AlarmKey key, AlarmReport? before)
    {
        try
        {
            await stored;
        }
        catch (BufferRejectedException)
        {
            lock (_gate) _raised = before is null ? _raised!.Remove(key) : _raised!.SetItem(key, before);
            Changed?.Invoke();
        }
        catch (BufferUnavailableException)
        {
            // The buffer was closed.
        }
    }

    bool TryLoad()
    {
        lock (_gate)
        {
            if (_raised is not null) return true;
            try
            {
                _raised = buffer?.LoadDocument(Document) is { } saved ? Read(saved) : Read("{}"u8.ToArray());
                return true;
            }
            catch (BufferUnavailableException)
            {
                return false; // tried again with the next reading
            }
        }
    }

    static byte[] Write(ImmutableDictionary<AlarmKey, AlarmReport> raised)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            foreach (var sensor in raised.GroupBy(alarm => (alarm.Key.Entry, alarm.Key.Sensor)))
            {
                var (entry, name) = sensor.Key;
                json.WriteStartArray(entry == name ? name : $"{entry}{Between}{name}");
                foreach (var (_, report) in sensor) report.Write(json);
                json.WriteEndArray();
            }

            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }

    // An alarm that can't be read is raised again if its condition still holds.
    static ImmutableDictionary<AlarmKey, AlarmReport> Read(ReadOnlyMemory<byte> document)
    {
        var raised = ImmutableDictionary.CreateBuilder<AlarmKey, AlarmReport>();
        try
        {
            using var json = JsonDocument.Parse(document);
            foreach (var sensor in json.RootElement.EnumerateObject())
            {
                var names = sensor.Name.Split(Between, 2);
                foreach (var report in sensor.Value.EnumerateArray().Select(AlarmReport.Read))
                    raised[new(names[0], names[^1], report.Name)] = report;
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException
            or KeyNotFoundException or FormatException)
        {
            // Written by another version, or by hand.
        }

        return raised.ToImmutable();
    }

    readonly record struct AlarmKey(string Entry, string Sensor, string Alarm);
}
