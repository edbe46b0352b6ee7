using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Forwarding;
using static SensorForwarder.Configuration.SettingDefinition;

namespace SensorForwarder.Configuration;

/// <summary>Every setting there is, but for <c>sensors</c>, whose entries <see cref="SensorsParser"/> reads one by one.
/// The only place that knows keys, ranges and texts: what is written about them elsewhere is made from here, or
/// compared with it.</summary>
internal static class SettingsTable
{
    public const string SensorsKey = "sensors";
    public const string HttpEndpointKey = "httpEndpoint";

    public static IReadOnlyList<SettingDefinition> All { get; } =
    [
        Choice("sink", "Where batches go.",
            [("iothub", SinkKind.IotHub), ("http", SinkKind.Http)],
            s => s.Forwarding.Sink, (s, v) => s with { Forwarding = s.Forwarding with { Sink = v } })
            with { DefaultSource = "`iothub` with an edge identity, else `http`" },
        Url(HttpEndpointKey, "Receiver of the `http` sink; secrets belong into `Http__Authorization`.",
            s => s.Forwarding.HttpEndpoint, (s, v) => s with { Forwarding = s.Forwarding with { HttpEndpoint = v } })
            with { DefaultSource = "`Http__Endpoint`" },
        Integer("batchSize", 1, 10_000, "Readings in a batch at most.",
            s => s.Forwarding.BatchSize, (s, v) => s with { Forwarding = s.Forwarding with { BatchSize = v } }),
        Integer("batchMaxBytes", 1024, HttpSink.LargestBodyBytes, "Bytes of a batch at most, before compression; IoT "
            + "Hub takes 245760 whatever stands here.",
            s => s.Forwarding.BatchMaxBytes, (s, v) => s with { Forwarding = s.Forwarding with { BatchMaxBytes = v } }),
        Seconds("uploadIntervalSeconds", 0, 86_400, "A batch that is not full leaves when its oldest reading is this "
            + "old; 0: at once.",
            s => s.Forwarding.UploadInterval, (s, v) => s with { Forwarding =
                s.Forwarding with { UploadInterval = v } }),
        Integer("maxInFlightBatches", 1, 64, "Batches under way to IoT Hub at once.",
            s => s.Forwarding.MaxInFlightBatches, (s, v) => s with { Forwarding =
                s.Forwarding with { MaxInFlightBatches = v } }),
        Choice("compression", "Compression of the body, `http` only.",
            [("none", BatchCompression.None), ("gzip", BatchCompression.Gzip)],
            s => s.Forwarding.Compression, (s, v) => s with { Forwarding = s.Forwarding with { Compression = v } }),
        Seconds("httpTimeoutSeconds", HttpSink.MinTimeoutSeconds, HttpSink.MaxTimeoutSeconds,
            "How long the receiver may take to answer, from the end of the request; after each timeout the same batch "
            + "gets twice the time, up to 600; `http` only.",
            s => s.Forwarding.HttpTimeout, (s, v) => s with { Forwarding = s.Forwarding with { HttpTimeout = v } }),
        Flag("acceptHtml",
            "`true`: a web page (HTML) with a 2xx is an acceptance; `false`: it is taken for that of a captive portal, "
            + "and the batch is sent again; `http` only.",
            s => s.Forwarding.AcceptHtml, (s, v) => s with { Forwarding = s.Forwarding with { AcceptHtml = v } }),
        Choice("messageFormat", "`pnp`: each reading is a message of its own, as the Plug and Play model in "
            + "`modules/SensorForwarder/model` describes it; `iothub` only.",
            [("batch", MessageFormat.Batch), ("pnp", MessageFormat.Pnp)],
            s => s.Forwarding.MessageFormat, (s, v) => s with { Forwarding = s.Forwarding with { MessageFormat = v } }),
        Choice("drainOrder", "`oldestFirst`: strictly in order. `liveFirst`: new readings never wait for a backlog, "
            + "which follows beside them.",
            [("oldestFirst", DrainOrder.OldestFirst), ("liveFirst", DrainOrder.LiveFirst)],
            s => s.Forwarding.DrainOrder, (s, v) => s with { Forwarding = s.Forwarding with { DrainOrder = v } }),
        Integer("backfillBatchesPerMinute", 0, 6_000, "Batches of the backlog in a minute at most, with `liveFirst`; "
            + "0: no limit.",
            s => s.Forwarding.BackfillBatchesPerMinute, (s, v) => s with { Forwarding =
                s.Forwarding with { BackfillBatchesPerMinute = v } }),
        Integer("dailyMessageLimit", 0, 1_000_000_000, "Messages to IoT Hub in a day of UTC at most, counted as it "
            + "bills them, in chunks of 4 KB; spread over the day, new readings first; `iothub` only; 0: no limit.",
            s => s.Forwarding.DailyMessageLimit, (s, v) => s with { Forwarding =
                s.Forwarding with { DailyMessageLimit = v } }),
        Integer("commitIntervalMs", 0, 60_000, "Readings are written together this often: what a power cut can cost, "
            + "and what spares the flash; 0: each by itself.",
            s => (int)s.Buffer.CommitInterval.TotalMilliseconds,
            (s, v) => s with { Buffer = s.Buffer with { CommitInterval = TimeSpan.FromMilliseconds(v) } }),
        Integer("bufferMaxMegabytes", 1, 1_048_576, "What the buffer may take on the volume.",
            s => (int)(s.Buffer.MaxBytes >> 20), (s, v) => s with { Buffer =
                s.Buffer with { MaxBytes = (long)v << 20 } }),
        Integer("bufferMaxAgeHours", 0, 1_000_000, "Readings older than this are given up; 0: no limit.",
            s => (int)s.Buffer.MaxAge.TotalHours, (s, v) => s with { Buffer =
                s.Buffer with { MaxAge = TimeSpan.FromHours(v) } }),
        Integer("retainForwardedHours", 0, 1_000_000, "Forwarded readings stay in the buffer until they are this old, "
            + "for the page, `/api/readings` and `--export`, or until room is needed; 0: they go.",
            s => (int)s.Buffer.RetainForwarded.TotalHours, (s, v) => s with { Buffer =
                s.Buffer with { RetainForwarded = TimeSpan.FromHours(v) } }),
        Choice("whenFull", "What makes room when the buffer is full.",
            [("thin", WhenFull.Thin), ("dropOldest", WhenFull.DropOldest), ("rejectNew", WhenFull.RejectNew)],
            s => s.Buffer.WhenFull, (s, v) => s with { Buffer = s.Buffer with { WhenFull = v } }),
        Seconds("pollIntervalSeconds", SensorsParser.MinIntervalSeconds, 86_400, "Interval of sensors that have no "
            + "`intervalSeconds` of their own.",
            s => s.PollInterval, (s, v) => s with { PollInterval = v }),
        Choice("logLevel", "Least level of log lines.",
            [.. Enum.GetValues<LogLevel>().Select(level => (level.ToString(), level))],
            s => s.LogLevel, (s, v) => s with { LogLevel = v })
            with { DefaultSource = "`RuntimeLogLevel`" },
        Seconds("statusIntervalSeconds", 10, 86_400, "The `status` section of the reported properties is brought up to "
            + "date this often, and when something changes its state.",
            s => s.StatusInterval, (s, v) => s with { StatusInterval = v }),
        Minutes("settingsTrialMinutes", 0, 1_440, "A change after which nothing could be forwarded for so long, though "
            + "it could before, is rolled back, whatever the cause, a blackout too; 0: off.",
            s => s.Trial, (s, v) => s with { Trial = v }),
    ];
}
