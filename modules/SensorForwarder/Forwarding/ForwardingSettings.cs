namespace SensorForwarder.Forwarding;

/// <summary>Where batches go.</summary>
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

/// <summary>What a message to IoT Hub is.</summary>
internal enum MessageFormat
{
    /// <summary>A batch of readings, as <see cref="BatchEncoder"/> writes it.</summary>
    Batch,

    /// <summary>A message a reading, as <see cref="PnpEncoder"/> writes it.</summary>
    Pnp,
}

/// <summary>What goes first when there is a backlog.</summary>
internal enum DrainOrder
{
    /// <summary>Strictly in the order of ids; only a receiver that refuses everything is tried
    /// with any of them.</summary>
    OldestFirst,

    /// <summary>New readings at once, the backlog in a lane of its own.</summary>
    LiveFirst,
}

/// <summary>The part of the settings that tunes forwarding. Immutable; ranges are those
/// of the settings table.</summary>
internal sealed record ForwardingSettings
{
    public SinkKind Sink { get; init; } = SinkKind.Http;

    /// <summary>Absolute http(s) URL; null when there is none.</summary>
    public Uri? HttpEndpoint { get; init; }

    /// <summary>Readings in a batch at most, 1..10000.</summary>
    public int BatchSize { get; init; } = 50;

    /// <summary>Bytes of a batch at most, as sent before compression, 1024..16777216.</summary>
    public int BatchMaxBytes { get; init; } = 245_760;

    /// <summary>A batch that is not full leaves when its oldest reading is this old; zero: at once.</summary>
    public TimeSpan UploadInterval { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Batches on their way at the same time, 1..64.</summary>
    public int MaxInFlightBatches { get; init; } = 4;

    /// <summary>For the HTTP sink only.</summary>
    public BatchCompression Compression { get; init; } = BatchCompression.None;

    /// <summary>Time for an HTTP receiver to answer, from the end of the request body, 1..600 s. The next attempt of a
    /// batch that timed out has twice that, and so on, up to 600 s.</summary>
    public TimeSpan HttpTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Whether a web page with a 2xx is an acceptance; without it, it is taken for a captive portal.</summary>
    public bool AcceptHtml { get; init; }

    /// <summary>For the IoT Hub sink only.</summary>
    public MessageFormat MessageFormat { get; init; } = MessageFormat.Batch;

    public DrainOrder DrainOrder { get; init; } = DrainOrder.OldestFirst;

    /// <summary>Batches of the backlog in a minute at most, with <see cref="DrainOrder.LiveFirst"/>, 0..6000; 0: no
    /// limit.</summary>
    public int BackfillBatchesPerMinute { get; init; }

    /// <summary>Messages to IoT Hub in a day at most, as it bills them; 0: no limit.</summary>
    public int DailyMessageLimit { get; init; }
}
