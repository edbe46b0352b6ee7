using System.Diagnostics;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Time;

namespace SensorForwarder.Forwarding;

/// <summary>One of the queues that batches are taken from.</summary>
internal enum Lane
{
    /// <summary>The newest readings; with one lane, all readings.</summary>
    Live,

    /// <summary>The backlog of an outage.</summary>
    Backfill,

    /// <summary>Alarms; sent before everything else.</summary>
    Alarm,
}

/// <summary>What a 409 (Conflict) means as the answer to a batch that was sent before.</summary>
internal enum ConflictMeaning
{
    /// <summary>An earlier attempt ended without a clear answer. The receiver stored the batch then, and recognises its
    /// <c>Idempotency-Key</c> now.</summary>
    Stored,

    /// <summary>The receiver does not have the batch: every attempt was denied, or it has not been sent to this
    /// receiver.</summary>
    Denied,

    /// <summary>The receiver answered 409 to a batch that it did not have, so its 409 has another meaning.</summary>
    Other,
}

/// <summary>
/// Consecutive readings, encoded once. Boundaries and id stay the same until the receiver accepts or rejects the batch.
/// Only a batch that certainly has not arrived may get new boundaries. Immutable.
/// </summary>
/// <param name="Epoch">The epoch of the buffer that the readings come from.</param>
/// <param name="Readings">At least one, in id order; their payloads are slices of <paramref name="Body"/>.</param>
/// <param name="Body">The body before compression, the same for both sinks.</param>
internal sealed record Batch(string Epoch, IReadOnlyList<BufferedReading> Readings, ReadOnlyMemory<byte> Body)
{
    public Lane Lane { get; init; }

    /// <summary>Tags of the module, as in the body.</summary>
    public Tags Tags { get; init; } = Tags.None;

    /// <summary>Whether the readings were delivered before and are replayed on request.</summary>
    public bool IsReplay { get; init; }

    /// <summary>The lane as receivers see it: <c>live</c>, <c>backfill</c>, <c>alarm</c> or <c>replay</c>.</summary>
    public string LaneName => IsReplay ? "replay" : NameOf(Lane);

    /// <summary>The output that the batch is sent to, for edgeHub's routes: <c>live</c>, <c>backfill</c> or
    /// <c>alarm</c>.</summary>
    public string Output => NameOf(Lane);

    /// <summary>The compressed body, if its size was needed to cut the batch; null: not compressed yet.</summary>
    public ReadOnlyMemory<byte>? Gzip { get; init; }

    /// <summary>Whether an earlier attempt, in this or the last run, may have delivered the batch under this id.
    /// </summary>
    public bool MayHaveArrived { get; init; }

    /// <summary>What a 409 means if <see cref="MayHaveArrived"/>.</summary>
    public ConflictMeaning Conflict { get; init; }

    /// <summary>Attempts in this run that the receiver did not answer in time.</summary>
    public int Timeouts { get; init; }

    /// <summary>Attempts in this run that the receiver answered with a temporary error.</summary>
    public int Errors { get; init; }

    /// <summary>When the first of <see cref="Errors"/> was; null: none.</summary>
    public Moment? FailingSince { get; init; }

    /// <summary>When this stuck batch last failed: it rests for a while, so that it does not delay others. Null: not
    /// stuck.</summary>
    public Moment? RestingSince { get; init; }

    /// <summary>Whether this is a random waiting reading, sent to test whether the receiver accepts any.</summary>
    public bool IsSample { get; init; }

    public IdSet Ids =>
        LastId - FirstId + 1 == Readings.Count ? Range : IdSet.Of(Readings.Select(reading => reading.Id));

    /// <summary>All ids from the first to the last, including those without a reading.</summary>
    public IdSet Range => IdSet.Of(FirstId, LastId);

    public long FirstId => Readings[0].Id;

    public long LastId => Readings[^1].Id;

    /// <summary>The id that receivers see, as <c>Idempotency-Key</c> or <c>$.mid</c>.</summary>
    public string Id => $"{Epoch}:{FirstId}-{LastId}";

    /// <summary>The name of a lane, which is also its output in edgeHub.</summary>
    public static string NameOf(Lane lane) => lane switch
    {
        Lane.Live => "live",
        Lane.Backfill => "backfill",
        Lane.Alarm => "alarm",
        _ => throw new UnreachableException($"lane {lane}"),
    };

    /// <summary>The body that is sent with these settings.</summary>
    public ReadOnlyMemory<byte> BodyFor(ForwardingSettings settings) =>
        settings.IsGzip ? Gzip ?? BatchEncoder.Compress(Body.Span, []) : Body;
}
