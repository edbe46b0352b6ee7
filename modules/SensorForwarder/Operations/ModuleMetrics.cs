using System.Diagnostics.Metrics;
using System.Runtime.InteropServices;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations;

/// <summary>
/// Every instrument of the module. Nearly all are observed: each part keeps its own numbers, and a scrape reads them,
/// so that nothing on the way of a reading knows about metrics. The number of series is bounded whatever the settings
/// are.
/// </summary>
internal sealed class ModuleMetrics : IDisposable
{
    public const string MeterName = "SensorForwarder";
    public const string Prefix = "sensorforwarder_";

    /// <summary>What the names of instruments begin with that have a series for each sensor.</summary>
    public const string SensorPrefix = $"{Prefix}sensor_";

    /// <summary>Sensors that have series of their own, by name; the others are one more, called
    /// <see cref="OtherSensors"/>.</summary>
    public const int MaxSensors = 200;

    /// <summary>No setting can give a sensor this name.</summary>
    public const string OtherSensors = "other sensors";

    static readonly double[] CommitBounds = [0.002, 0.01, 0.05, 0.25, 1, 5];
    static readonly double[] SendBounds = [0.01, 0.05, 0.25, 1, 5, 30];

    readonly TimeProvider _timeProvider;
    readonly long _started;

    public ModuleMetrics(
        BootOptions boot,
        TelemetryBuffer buffer,
        Forwarder forwarder,
        SensorScheduler scheduler,
        TimeProvider timeProvider,
        IEdgeHubClient? hub = null)
    {
        (_timeProvider, _started) = (timeProvider, timeProvider.GetTimestamp());
        Labels =
        [
            new("iothub", boot.Identity?.HubHostName ?? ""),
            new("edge_device", boot.DeviceId),
            new("module", boot.ModuleId),
            new("instance_number", Guid.NewGuid().ToString()),
        ];
        Sensors(scheduler);
        Buffer(buffer);
        Forwarding(forwarder);
        if (hub is not null) Hub(hub);
        Certificates(boot);
        Process();
    }

    public Meter Meter { get; } = new(MeterName);

    /// <summary>What IoT Edge's metrics-collector expects on every sample.</summary>
    public IReadOnlyList<KeyValuePair<string, object?>> Labels { get; }

    public void Dispose() => Meter.Dispose();

    void Sensors(SensorScheduler scheduler)
    {
        Gauge("sensors", "Sensors that are read.", () => scheduler.Health.Count);
        Gauge("sensors_failing", "Those of them whose last attempt failed.", () => scheduler.Health.Count(
            sensor => sensor.State == SensorState.Failing));
        PerSensor("readings", "Readings with values.", sensor => sensor.Readings);
        PerSensor("failures", "Attempts to read that failed.", sensor => sensor.Failures);
        PerSensor("missed", "Turns left out since the one before took too long.", sensor => sensor.Missed);

        void PerSensor(string name, string text, Func<SensorHealth, long> value) => Meter.CreateObservableCounter(
            $"{SensorPrefix}{name}",
            () =>
            {
                var sensors = scheduler.Health.OrderBy(sensor => sensor.Name, StringComparer.Ordinal).ToList();
                var samples = sensors.Take(MaxSensors).Select(sensor => Sample(value(sensor), "sensor", sensor.Name));
                return sensors.Count <= MaxSensors
                    ? samples
                    : samples.Append(Sample(sensors.Skip(MaxSensors).Sum(value), "sensor", OtherSensors));
            },
            description: text);
    }

    void Buffer(TelemetryBuffer buffer)
    {
        Gauge("queue_depth", "Readings that wait to be forwarded.", () => buffer.GetStatus().Depth);
        Gauge("queue_oldest_age_seconds", "Age of the oldest of them.", () => buffer.GetStatus().OldestAge?.TotalSeconds
            ?? 0);
        Gauge("buffer_in_memory", "Readings that are not on the medium yet.", () => buffer.GetStatus().InMemory);
        Gauge("buffer_bytes", "What the buffer takes on the volume.", () => buffer.GetStatus().FileBytes);
        Gauge("buffer_wal_bytes", "What its write-ahead log takes of that.", () => buffer.GetStatus().WalBytes);
        Gauge("buffer_writable", "1 while the volume takes readings; 0 also while the buffer is full and refuses them.",
            () => buffer.GetStatus().Storage == StorageState.Ok
            ? 1
            : 0);
        Gauge("dead_letters", "Readings that the receiver refused for good.", () => buffer.GetStatus().DeadLetters);
        Counter("readings_dead_lettered", "Readings that became dead letters, whatever became of them.",
            () => buffer.GetStatus().DeadLettered);
        Gauge("clock_synchronized", "1 while a time service disciplines the clock.", () => buffer.GetStatus()
            .ClockSynchronized
            ? 1
            : 0);
        Counter("readings_committed", "Readings that reached the medium.", () => buffer.GetStatus().CommittedReadings);
        Counter("committed_bytes", "Bytes of those readings.", () => buffer.GetStatus().CommittedBytes);
        Counter("commits", "Transactions.", () => buffer.GetStatus().Commits);
        Counter("write_failures", "Attempts to write that failed.", () => buffer.GetStatus().WriteFailures);
        Meter.CreateObservableCounter(
            $"{Prefix}evicted_readings",
            () => buffer.GetStatus().Evicted.Select(total => Sample(total.Count, "reason", total.Reason)),
            description: "Readings given up since the file was made, by reason.");
        Counter("flash_written_bytes", "What the process had the kernel write to storage since its start.",
            () => ProcessIo.WrittenBytes() ?? 0);
        Gauge("flash_written_bytes_per_year", "The same, projected from the time since the start.",
            () => ProcessIo.PerYear(_timeProvider.GetElapsedTime(_started)));
        var commits = Histogram("commit_seconds", "Time that a transaction took, with its fsync.", CommitBounds);
        buffer.CommitTook += took => commits.Record(took.TotalSeconds);
    }

    void Forwarding(Forwarder forwarder)
    {
        Counter("batches_accepted", "Batches that the receiver has.", () => forwarder.Status.Batches);
        Counter("batches_backfilled", "Those of them that were of the backlog.",
            () => forwarder.Status.BackfillBatches);
        Counter("readings_accepted", "Readings in those batches.", () => forwarder.Status.Readings);
        Counter("sent_bytes", "Bytes of those batches, before compression.", () => forwarder.Status.Bytes);
        Counter("send_failures", "Attempts to send that did not succeed; the readings are sent again, but for those "
            + "that become dead letters.", () => forwarder.Status.Failures);
        Gauge("forwarding_paused", "1 while a person holds forwarding.", () => forwarder.Status.Paused ? 1 : 0);
        Gauge("last_accepted_timestamp_seconds", "When the last batch was accepted, as Unix time; 0: not yet.",
            () => forwarder.Status.LastSuccess?.Time(_timeProvider).ToUnixTimeMilliseconds() / 1000.0 ?? 0);
        var sends = Histogram("send_seconds", "Time from sending a batch to its answer.", SendBounds);
        forwarder.SendTook += took => sends.Record(took.TotalSeconds);
    }

    void Hub(IEdgeHubClient hub)
    {
        Gauge("hub_connected", "1 while the hub is connected.", () => hub.Status.State == HubState.Connected ? 1 : 0);
        Counter("hub_disconnects", "Connections that were lost; renewals of the token are not counted.",
            () => hub.Status.Reconnects);
        Counter("hub_token_renewals", "Connections made anew for a fresh token.", () => hub.Counters.Renewals);
        Counter("hub_messages_sent", "Messages handed to the connection.", () => hub.Counters.Sent);
        Counter("hub_messages_acknowledged", "Messages that the hub acknowledged.", () => hub.Counters.Acknowledged);
        Counter("hub_acknowledgement_timeouts", "Messages whose acknowledgement did not come in time.",
            () => hub.Counters.TimedOut);
        Counter("hub_acknowledged_bytes", "Bytes of those acknowledged, as MQTT packets.",
            () => hub.Counters.AcknowledgedBytes);
        Counter("hub_method_calls", "Direct methods that were called.", () => hub.Counters.MethodCalls);
    }

    void Certificates(BootOptions boot) => Meter.CreateObservableGauge(
        $"{Prefix}certificate_expiry_timestamp_seconds",
        () => boot.Tls.Where(files => files.Current?.FirstToExpire is not null).Select(files => new Measurement<double>(
            new DateTimeOffset(files.Current!.FirstToExpire!.NotAfter).ToUnixTimeSeconds(),
            new KeyValuePair<string, object?>("variable", files.Certificate!.Variable))),
        description: "When the certificate presented to a receiver, or the first of its chain, expires, as Unix time.");

    void Process()
    {
        Gauge("uptime_seconds", "Time since the start.", () => _timeProvider.GetElapsedTime(_started).TotalSeconds);
        Gauge("process_memory_bytes", "Memory of the process that is resident.", () => Environment.WorkingSet);
        Meter.CreateObservableGauge(
            $"{Prefix}build_info",
            () => new Measurement<double>(
                1, new("version", StatusWriter.Version), new("runtime", Environment.Version.ToString()),
                new("architecture", RuntimeInformation.ProcessArchitecture.ToString())),
            description: "Always 1; the labels say what runs.");
    }

    static Measurement<long> Sample(long value, string label, string of) =>
        new(value, new KeyValuePair<string, object?>(label, of));

    void Gauge(string name, string text, Func<double> value) =>
        Meter.CreateObservableGauge($"{Prefix}{name}", () => new Measurement<double>(value()), description: text);

    void Counter(string name, string text, Func<long> value) =>
        Meter.CreateObservableCounter($"{Prefix}{name}", () => new Measurement<long>(value()), description: text);

    Histogram<double> Histogram(string name, string text, double[] bounds) => Meter.CreateHistogram(
        $"{Prefix}{name}", description: text, advice: new InstrumentAdvice<double>
        {
            HistogramBucketBoundaries =
            bounds
        });
}
