using System.Diagnostics.Metrics;
using System.Runtime.InteropServices;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Intake;
using SensorForwarder.Operations.Status;
using SensorForwarder.Readings;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations.Metrics;

/// <summary>
/// Owns the instruments of the module. Nearly all are observable: each part keeps its own counters, and a scrape reads
/// them from a <see cref="ModuleStatus"/>, so that the path of a reading contains no metrics code. The number of series
/// is bounded. Thread-safe.
/// </summary>
internal sealed class ModuleMetrics : IDisposable
{
    public const string MeterName = "SensorForwarder";
    public const string Prefix = "sensorforwarder_";

    /// <summary>Prefix of the instruments with a series for each sensor.</summary>
    public const string SensorPrefix = $"{Prefix}sensor_";

    /// <summary>The instrument with a series for each value of each sensor.</summary>
    public const string ValueName = $"{SensorPrefix}value";

    /// <summary>Number of sensors, in the order of their names, that have their own series. The others share the series
    /// <see cref="OtherSensors"/>.</summary>
    public const int MaxSensors = 200;

    /// <summary>Not a valid name of a sensor, since it has a blank.</summary>
    public const string OtherSensors = "other sensors";

    static readonly double[] CommitBounds = [0.002, 0.01, 0.05, 0.25, 1, 5];
    static readonly double[] SendBounds = [0.01, 0.05, 0.25, 1, 5, 30];

    // The OTLP exporter reads the instruments one by one; within this time they share a status.
    static readonly TimeSpan SharedFor = TimeSpan.FromMilliseconds(100);

    readonly StatusSource _source;

    public ModuleMetrics(
        BootOptions boot, StatusSource source, TelemetryBuffer buffer, Forwarder forwarder)
    {
        _source = source;
        Labels =
        [
            new("iothub", boot.Identity?.HubHostName ?? ""),
            new("edge_device", boot.DeviceId),
            new("module", boot.ModuleId),
            new("instance_number", Guid.NewGuid().ToString()),
        ];
        Sensors();
        Intake();
        Buffer(buffer);
        Forwarding(forwarder);
        if (source.HasHub) Hub();
        Certificates(boot);
        Process();
    }

    public Meter Meter { get; } = new(MeterName);

    /// <summary>The labels that IoT Edge's metrics-collector expects on every sample.</summary>
    public IReadOnlyList<KeyValuePair<string, object?>> Labels { get; }

    ModuleStatus Status => _source.Recent(SharedFor);

    /// <summary>Captures a new status for the instruments.</summary>
    public void Refresh() => _source.Capture();

    public void Dispose() => Meter.Dispose();

    IEnumerable<Reading> LastGood() => ByName().Take(MaxSensors).Select(sensor => sensor.LastGood).OfType<Reading>();

    IEnumerable<SensorHealth> ByName() => Status.Sensors.OrderBy(sensor => sensor.Name, StringComparer.Ordinal);

    void Sensors()
    {
        Gauge("sensors", "Sensors that are read.", status => status.Sensors.Count);
        Gauge("sensors_failing", "Sensors whose last attempt failed.",
            status => status.Sensors.Count(sensor => sensor.State == SensorState.Failing));
        PerSensor("readings", "Readings with values.", sensor => sensor.Readings);
        PerSensor("failures", "Failed attempts to read.", sensor => sensor.Failures);
        PerSensor("missed", "Scheduled reads skipped because the previous one took too long.", sensor => sensor.Missed);
        Meter.CreateObservableGauge(
            ValueName,
            () => from sensor in ByName().Take(MaxSensors)
                  from value in sensor.LastGood is { } good ? Trends.Shown(good) : []
                  select new Measurement<double>(value.Value, [
                      new("sensor", sensor.Name), new("value", value.Key),
                      new("unit", sensor.Units.GetValueOrDefault(value.Key, "")), .. sensor.Tags.Labels]),
            description: "The last good value. The unit is in words, and empty if it is not known.");
        Meter.CreateObservableGauge(
            $"{ValueName}_timestamp_seconds", () => LastGood().Select(good => new Measurement<double>(
                good.Time.ToUnixTimeMilliseconds() / 1000.0, [new("sensor", good.Sensor), .. good.Tags.Labels])),
            description: "Unix time when the last good values of a sensor were measured.");
        Meter.CreateObservableGauge(
            $"{Prefix}alarm_active",
            () => from sensor in ByName().Take(MaxSensors)
                  from alarm in sensor.Alarms
                  select new Measurement<long>(
                      alarm.Since is null ? 0 : 1, [
                          new("sensor", alarm.Sensor), new("alarm", alarm.Rule.Name),
                          new("value", alarm.Rule.Value ?? ""), new("severity", alarm.Rule.Severity),
                          .. sensor.Tags.Labels]),
            description: "1 while an alarm of a sensor is raised, 0 while it is not.");

        void PerSensor(string name, string text, Func<SensorHealth, long> value) => Meter.CreateObservableCounter(
            $"{SensorPrefix}{name}",
            () =>
            {
                var sensors = ByName().ToList();
                var samples = sensors.Take(MaxSensors).Select(sensor =>
                    new Measurement<long>(value(sensor), [new("sensor", sensor.Name), .. sensor.Tags.Labels]));
                return sensors.Count <= MaxSensors
                    ? samples
                    : samples.Append(Sample(sensors.Skip(MaxSensors).Sum(value), "sensor", OtherSensors));
            },
            description: text);
    }

    void Intake()
    {
        Meter.CreateObservableCounter(
            $"{Prefix}intake_readings",
            () => Status.Sources.Select(source => Sample(source.Accepted, "source", source.Name)),
            description: "Readings of other programs that were stored.");
        Meter.CreateObservableCounter(
            $"{Prefix}intake_refused_requests",
            () => from source in Status.Sources
                  from refused in source.Refused
                  select new Measurement<long>(
                      refused.Value, new("source", source.Name), new("reason", SourceDocument.NameOf(refused.Key))),
            description: "Requests of other programs that were not stored, by reason.");
        PerSource("intake_last_seen_timestamp_seconds",
            "When a source sent its last request, as Unix time; 0: nothing yet.",
            source => source.LastSeen?.Time(Status.Clock).ToUnixTimeMilliseconds() / 1000.0 ?? 0);
        PerSource("intake_silent", "1 while a source has sent nothing for longer than allowed.",
            source => source.IsSilent ? 1 : 0);

        void PerSource(string name, string text, Func<IntakeSourceStatus, double> value) => Meter.CreateObservableGauge(
            $"{Prefix}{name}",
            () => Status.Sources.Select(source => new Measurement<double>(
                value(source), new KeyValuePair<string, object?>("source", source.Name))),
            description: text);
    }

    void Buffer(TelemetryBuffer buffer)
    {
        Gauge("queue_depth", "Readings waiting to be forwarded.", status => status.Buffer.Depth);
        Gauge("queue_oldest_age_seconds", "Age of the oldest waiting reading.",
            status => status.Buffer.OldestAge?.TotalSeconds ?? 0);
        Gauge("buffer_in_memory", "Readings not committed to the medium yet.", status => status.Buffer.InMemory);
        Gauge("buffer_bytes", "Size of the buffer on the volume.", status => status.Buffer.FileBytes);
        Gauge("buffer_wal_bytes", "Size of the write-ahead log, part of the size of the buffer.",
            status => status.Buffer.WalBytes);
        Gauge("buffer_writable", "1 while the volume accepts readings; 0 also while a full buffer refuses them.",
            status => status.Buffer.Storage == StorageState.Ok ? 1 : 0);
        Gauge("dead_letters", "Readings that the receiver refused permanently.", status => status.Buffer.DeadLetters);
        Counter("readings_dead_lettered", "Readings that became dead letters, including those retried or purged since.",
            status => status.Buffer.DeadLettered);
        Gauge("clock_synchronized", "1 while a time service synchronizes the clock.",
            status => status.Buffer.ClockSynchronized ? 1 : 0);
        Counter("readings_committed", "Readings committed to the medium.", status => status.Buffer.CommittedReadings);
        Counter("committed_bytes", "Bytes of the committed readings.", status => status.Buffer.CommittedBytes);
        Counter("commits", "Committed transactions.", status => status.Buffer.Commits);
        Counter("write_failures", "Failed attempts to write.", status => status.Buffer.WriteFailures);
        Meter.CreateObservableCounter(
            $"{Prefix}evicted_readings",
            () => Status.Buffer.Evicted.Select(total => Sample(total.Count, "reason", total.Reason)),
            description: "Readings evicted since the database was created, by reason.");
        Counter("flash_written_bytes", "Bytes written to the volume's device since the start; only those of this "
            + "process if the volume is not a separate device.",
            status => status.FlashBytes.Value ?? 0);
        Gauge("flash_written_bytes_per_year", "Bytes written since the start, extrapolated to a year.",
            status => status.FlashBytesPerYear);
        var commits = Histogram("commit_seconds", "Duration of a transaction, with its fsync.", CommitBounds);
        buffer.CommitTook += took => commits.Record(took.TotalSeconds);
    }

    void Forwarding(Forwarder forwarder)
    {
        Counter("batches_accepted", "Batches that the receiver accepted.", status => status.Forwarding.Batches);
        Counter("batches_backfilled", "Accepted batches of the backlog.", status => status.Forwarding.BackfillBatches);
        Counter("batches_of_alarms", "Accepted batches of alarms.", status => status.Forwarding.AlarmBatches);
        Counter("readings_accepted", "Readings in accepted batches.", status => status.Forwarding.Readings);
        Counter("sent_bytes", "Bytes of accepted batches, before compression.", status => status.Forwarding.Bytes);
        Counter("send_failures", "Failed attempts to send; the readings are sent again, unless they become dead "
            + "letters.", status => status.Forwarding.Failures);
        Gauge("readings_handed_over", "Readings that edgeHub has accepted and that are not known to be in the cloud.",
            status => status.Forwarding.Custody.HandedOver);
        Counter("edgehub_lost_messages", "Messages that edgeHub accepted and lost; their readings are sent again.",
            status => status.Forwarding.Custody.LostMessages);
        Gauge("forwarding_paused", "1 while forwarding is paused.", status => status.Forwarding.Paused ? 1 : 0);
        Gauge("last_accepted_timestamp_seconds", "Unix time when the last batch was accepted; 0: none yet.",
            status => status.Forwarding.LastSuccess?.Time(status.Clock).ToUnixTimeMilliseconds() / 1000.0 ?? 0);
        var sends = Histogram("send_seconds", "Time from sending a batch to its answer.", SendBounds);
        forwarder.SendTook += took => sends.Record(took.TotalSeconds);
    }

    void Hub()
    {
        Gauge("hub_connected", "1 while the hub is connected.",
            status => status.Hub?.State == HubState.Connected ? 1 : 0);
        Counter("hub_disconnects", "Lost connections; those replaced to renew the token are not counted.",
            status => status.Hub?.Reconnects ?? 0);
        Counter("hub_token_renewals", "Connections replaced to renew the token.",
            status => status.HubCounters.Renewals);
        Counter("hub_messages_sent", "Messages handed to the connection.", status => status.HubCounters.Sent);
        Counter("hub_messages_acknowledged", "Messages that the hub acknowledged.",
            status => status.HubCounters.Acknowledged);
        Counter("hub_acknowledgement_timeouts", "Messages that were not acknowledged in time.",
            status => status.HubCounters.TimedOut);
        Counter("hub_acknowledged_bytes", "Bytes of the acknowledged messages, as MQTT packets.",
            status => status.HubCounters.AcknowledgedBytes);
        Counter("hub_method_calls", "Calls of direct methods.", status => status.HubCounters.MethodCalls);
    }

    void Certificates(BootOptions boot) => Meter.CreateObservableGauge(
        $"{Prefix}certificate_expiry_timestamp_seconds",
        () => boot.Tls.Where(files => files.Current?.FirstToExpire is not null).Select(files => new Measurement<double>(
            new DateTimeOffset(files.Current!.FirstToExpire!.NotAfter).ToUnixTimeSeconds(),
            new KeyValuePair<string, object?>("variable", files.Certificate!.Variable))),
        description: "Unix time when the certificate presented to a receiver, or the first of its chain, expires.");

    void Process()
    {
        Gauge("uptime_seconds", "Time since the start.", status => status.Uptime.TotalSeconds);
        Gauge("process_memory_bytes", "Resident memory of the process.", _ => Environment.WorkingSet);
        Meter.CreateObservableGauge(
            $"{Prefix}build_info",
            () => new Measurement<double>(
                1, new("version", ModuleStatus.Version), new("runtime", Environment.Version.ToString()),
                new("architecture", RuntimeInformation.ProcessArchitecture.ToString())),
            description: "Always 1; the labels contain the version, runtime and architecture.");
    }

    static Measurement<long> Sample(long value, string label, string of) =>
        new(value, new KeyValuePair<string, object?>(label, of));

    void Gauge(string name, string text, Func<ModuleStatus, double> value) => Meter.CreateObservableGauge(
        $"{Prefix}{name}", () => new Measurement<double>(value(Status)), description: text);

    void Counter(string name, string text, Func<ModuleStatus, long> value) => Meter.CreateObservableCounter(
        $"{Prefix}{name}", () => new Measurement<long>(value(Status)), description: text);

    Histogram<double> Histogram(string name, string text, double[] bounds) => Meter.CreateHistogram(
        $"{Prefix}{name}", description: text,
        advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = bounds });
}
