using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using SensorForwarder.Forwarding.Http;
using SensorForwarder.Options;
using SensorForwarder.Readings;
using static SensorForwarder.Configuration.SettingDefinition;
using static SensorForwarder.Options.Option;

namespace SensorForwarder.Configuration;

/// <summary>Describes every setting except <c>sensors</c>, which <see cref="SensorsParser"/> reads. The only place that
/// defines keys, ranges and descriptions: documentation, schema and model are generated from it.</summary>
internal static class SettingsTable
{
    public const string SensorsKey = "sensors";
    public const string HttpEndpointKey = "httpEndpoint";

    /// <summary>The tags of the module.</summary>
    public static readonly Option<Tags> ModuleTags = Tags.Option(
        "tags", "What the module belongs to, such as `{\"site\":\"north\"}`; included in every batch, and "
            + "application properties of IoT Hub messages, for routes. Names have letters, digits, `-` and `_`.");

    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    // The defaults.
    static readonly Settings S = new();
    static readonly ForwardingSettings F = S.Forwarding;
    static readonly BufferLimits B = S.Buffer;

    public static IReadOnlyList<SettingDefinition> All { get; } =
    [
        Forwarding(Choice("sink", [("iothub", SinkKind.IotHub), ("http", SinkKind.Http)], F.Sink,
            "Where batches are sent.")
            .From("`iothub` with an edge identity, else `http`"), f => f.Sink, (f, v) => f with { Sink = v }),
        Forwarding(Url(HttpEndpointKey, "Receiver of the `http` sink; secrets belong in `Http__Authorization`.")
            .From("`Http__Endpoint`"), f => f.HttpEndpoint, (f, v) => f with { HttpEndpoint = v }),
        Forwarding(Integer("batchSize", 1, 10_000, F.BatchSize, "Maximum number of readings in a batch."),
            f => f.BatchSize, (f, v) => f with { BatchSize = v }),
        Forwarding(Integer("batchMaxBytes", 1024, HttpSink.LargestBodyBytes, F.BatchMaxBytes, "Maximum size of a batch "
            + "as sent, after compression. For IoT Hub it is at most 245760."),
            f => f.BatchMaxBytes, (f, v) => f with { BatchMaxBytes = v }),
        Forwarding(Option.Time("uploadIntervalSeconds", 0, 86_400, Second, F.UploadInterval, "A batch that is not full "
            + "is sent when its oldest reading is this old; 0: at once."),
            f => f.UploadInterval, (f, v) => f with { UploadInterval = v }),
        Forwarding(Integer("maxInFlightBatches", 1, 64, F.MaxInFlightBatches,
            "Maximum number of batches in flight to IoT Hub."),
            f => f.MaxInFlightBatches, (f, v) => f with { MaxInFlightBatches = v }),
        Forwarding(Choice("compression", [("none", BatchCompression.None), ("gzip", BatchCompression.Gzip)],
            F.Compression, "`gzip`: the body is compressed; ten or more times as many readings fit in a 4 KB chunk "
            + "that IoT Hub bills. Stream Analytics can read it, and Data Explorer through an Event Hubs connection; "
            + "routing queries on the body, IoT Central and Data Explorer's IoT Hub connection cannot. `pnp` messages "
            + "are not compressed."),
            f => f.Compression, (f, v) => f with { Compression = v }),
        Forwarding(Option.Time("httpTimeoutSeconds", HttpSink.MinTimeoutSeconds, HttpSink.MaxTimeoutSeconds, Second,
            F.HttpTimeout, "Timeout for the receiver's answer, from the end of the request. Each timeout doubles it "
            + "for that batch, up to 600; `http` only."),
            f => f.HttpTimeout, (f, v) => f with { HttpTimeout = v }),
        Forwarding(Flag("acceptHtml", F.AcceptHtml, "`true`: an HTML page with a 2xx status counts as accepted. "
            + "`false`: it is taken for a captive portal, and the batch is sent again; `http` only."),
            f => f.AcceptHtml, (f, v) => f with { AcceptHtml = v }),
        Forwarding(Choice("messageFormat", [("batch", MessageFormat.Batch), ("pnp", MessageFormat.Pnp)],
            F.MessageFormat, "`pnp`: one message per reading, as described by the Plug and Play model in "
            + "`modules/SensorForwarder/model`; `iothub` only."),
            f => f.MessageFormat, (f, v) => f with { MessageFormat = v }),
        Forwarding(ModuleTags, f => f.Tags, (f, v) => f with { Tags = v }),
        Forwarding(Choice("drainOrder",
            [("oldestFirst", DrainOrder.OldestFirst), ("liveFirst", DrainOrder.LiveFirst)], F.DrainOrder,
            "`oldestFirst`: strictly in order. `liveFirst`: new readings never wait for the backlog, which is sent in "
            + "parallel."),
            f => f.DrainOrder, (f, v) => f with { DrainOrder = v }),
        Forwarding(Integer("backfillBatchesPerMinute", 0, 6_000, F.BackfillBatchesPerMinute, "Maximum number of "
            + "backlog batches per minute, with `liveFirst`; 0: no limit."),
            f => f.BackfillBatchesPerMinute, (f, v) => f with { BackfillBatchesPerMinute = v }),
        Forwarding(Integer("dailyMessageLimit", 0, 1_000_000_000, F.DailyMessageLimit, "Maximum number of messages to "
            + "IoT Hub per UTC day, counted as it bills them, in chunks of 4 KB. They are spread over the day, new "
            + "readings first; `iothub` only; 0: no limit."),
            f => f.DailyMessageLimit, (f, v) => f with { DailyMessageLimit = v }),
        Buffer(Integer("commitIntervalMs", 0, 60_000, (int)B.CommitInterval.TotalMilliseconds, "New readings are "
            + "committed together this often. A power cut loses the readings of one interval; a longer interval causes "
            + "less flash wear. 0: each reading is committed separately."),
            b => (int)b.CommitInterval.TotalMilliseconds,
            (b, v) => b with { CommitInterval = TimeSpan.FromMilliseconds(v) }),
        Buffer(Integer("bufferMaxMegabytes", 1, 1_048_576, (int)(B.MaxBytes >> 20), "Maximum size of the buffer on the "
            + "volume."),
            b => (int)(b.MaxBytes >> 20), (b, v) => b with { MaxBytes = (long)v << 20 }),
        Buffer(Integer("bufferKeepFreeMegabytes", 0, 1_048_576, (int)(B.KeepFreeBytes >> 20), "Space that the buffer "
            + "leaves free on the volume. When less is free, the buffer makes room as if it were full; 0: none."),
            b => (int)(b.KeepFreeBytes >> 20), (b, v) => b with { KeepFreeBytes = (long)v << 20 }),
        Buffer(Integer("bufferMaxAgeHours", 0, 1_000_000, (int)B.MaxAge.TotalHours, "Readings older than this are "
            + "dropped; 0: no limit."),
            b => (int)b.MaxAge.TotalHours, (b, v) => b with { MaxAge = TimeSpan.FromHours(v) }),
        Buffer(Integer("retainForwardedHours", 0, 1_000_000, (int)B.RetainForwarded.TotalHours, "Forwarded readings "
            + "stay in the buffer until they are this old, for the page, `/api/readings`, `--export` and `replay`, or "
            + "until room is needed; 0: they are deleted."),
            b => (int)b.RetainForwarded.TotalHours, (b, v) => b with { RetainForwarded = TimeSpan.FromHours(v) }),
        Buffer(Choice("whenFull",
            [("thin", WhenFull.Thin), ("dropOldest", WhenFull.DropOldest), ("rejectNew", WhenFull.RejectNew)],
            B.WhenFull, "How a full buffer makes room for new readings."),
            b => b.WhenFull, (b, v) => b with { WhenFull = v }),
        Of(Option.Time("pollIntervalSeconds", SensorsParser.MinIntervalSeconds, 86_400, Second, S.PollInterval,
            "Interval of sensors without their own `intervalSeconds`."),
            s => s.PollInterval, (s, v) => s with { PollInterval = v }),
        Of(Integer("aggregateSeconds", 0, 86_400, 0, "Sensors without their own `aggregateSeconds` store one reading "
            + "for each window of this length, instead of each reading; 0: off."),
            s => (int)s.AggregateWindow.TotalSeconds, (s, v) => s with { AggregateWindow = TimeSpan.FromSeconds(v) }),
        Of(Choice("logLevel", [.. Enum.GetValues<LogLevel>().Select(level => (level.ToString(), level))], S.LogLevel,
            "Lowest level that is logged.").From("`RuntimeLogLevel`"), s => s.LogLevel,
            (s, v) => s with { LogLevel = v }),
        Of(Option.Time("statusIntervalSeconds", 10, 86_400, Second, S.StatusInterval, "The `status` section of the "
            + "reported properties is updated this often, and when a state changes."),
            s => s.StatusInterval, (s, v) => s with { StatusInterval = v }),
        Of(Option.Time("settingsTrialMinutes", 0, 1_440, TimeSpan.FromMinutes(1), S.Trial, "A change of the forwarding "
            + "settings is rolled back if forwarding worked before it and nothing could be forwarded for this long "
            + "after it, whatever the cause (also a network outage); 0: off."),
            s => s.Trial, (s, v) => s with { Trial = v }),
    ];

    static SettingDefinition Forwarding<T>(
        Option<T> option, Func<ForwardingSettings, T> get, Func<ForwardingSettings, T, ForwardingSettings> set) =>
        Of(option, s => get(s.Forwarding), (s, v) => s with { Forwarding = set(s.Forwarding, v) });

    static SettingDefinition Buffer<T>(
        Option<T> option, Func<BufferLimits, T> get, Func<BufferLimits, T, BufferLimits> set) =>
        Of(option, s => get(s.Buffer), (s, v) => s with { Buffer = set(s.Buffer, v) });
}
