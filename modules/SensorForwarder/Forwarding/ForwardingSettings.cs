using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>Where batches are sent.</summary>
internal enum SinkKind
{
    IotHub,
    Http,
}

internal enum BatchCompression
{
    None,
    Gzip,
}

/// <summary>The format of messages to IoT Hub.</summary>
internal enum MessageFormat
{
    /// <summary>A batch of readings (<see cref="BatchEncoder"/>).</summary>
    Batch,

    /// <summary>One message per reading (<see cref="PnpEncoder"/>).</summary>
    Pnp,
}

/// <summary>The order of sending while there is a backlog.</summary>
internal enum DrainOrder
{
    /// <summary>In the order of ids, except for random samples while the receiver refuses all readings.</summary>
    OldestFirst,

    /// <summary>New readings first, the backlog in a separate lane.</summary>
    LiveFirst,
}

/// <summary>The settings of forwarding. Immutable; the settings table checks the ranges.</summary>
internal sealed record ForwardingSettings
{
    public SinkKind Sink { get; init; } = SinkKind.Http;

    /// <summary>Absolute http(s) URL; null: none.</summary>
    public Uri? HttpEndpoint { get; init; }

    /// <summary>The most readings in a batch, 1..10000.</summary>
    public int BatchSize { get; init; } = 50;

    /// <summary>The largest body of a batch as sent, 1024..16777216 bytes.</summary>
    public int BatchMaxBytes { get; init; } = 245_760;

    /// <summary>A batch is sent when its oldest reading has this age, even if it is not full; zero: at once.</summary>
    public TimeSpan UploadInterval { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Batches in flight to IoT Hub, 1..64.</summary>
    public int MaxInFlightBatches { get; init; } = 4;

    public BatchCompression Compression { get; init; } = BatchCompression.None;

    /// <summary>Whether batches are compressed. Plug and Play messages are not: IoT Central can't read gzip, and a
    /// single reading is billed as at least one chunk in any case.</summary>
    public bool IsGzip => Compression == BatchCompression.Gzip
        && (Sink == SinkKind.Http || MessageFormat == MessageFormat.Batch);

    /// <summary>How long an HTTP receiver may take to answer after the end of the request body, 1..600 s. Each timeout
    /// of a batch doubles the time for that batch, up to 600 s.</summary>
    public TimeSpan HttpTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Whether a web page with a 2xx status means accepted; otherwise it counts as a captive portal.</summary>
    public bool AcceptHtml { get; init; }

    /// <summary>Tags of the module, in every batch.</summary>
    public Tags Tags { get; init; } = Tags.None;

    /// <summary>For the IoT Hub sink only.</summary>
    public MessageFormat MessageFormat { get; init; } = MessageFormat.Batch;

    public DrainOrder DrainOrder { get; init; } = DrainOrder.OldestFirst;

    /// <summary>The most backfill batches per minute, with <see cref="DrainOrder.LiveFirst"/>, 0..6000; 0: no limit.
    /// </summary>
    public int BackfillBatchesPerMinute { get; init; }

    /// <summary>The most messages per UTC day, as IoT Hub bills them; 0: no limit.</summary>
    public int DailyMessageLimit { get; init; }
}
