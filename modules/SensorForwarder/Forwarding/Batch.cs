using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>The way that a batch goes.</summary>
internal enum Lane
{
    /// <summary>The newest readings; all of them where there is only one lane.</summary>
    Live,

    /// <summary>What a blackout left behind.</summary>
    Backfill,
}

/// <summary>What it means when a receiver answers 409 (Conflict) to a batch that was sent before.</summary>
internal enum ConflictMeaning
{
    /// <summary>An attempt ended without a clear answer: it has the batch since then, and knows its
    /// <c>Idempotency-Key</c>.</summary>
    Stored,

    /// <summary>Every attempt was denied, so it can't have the batch.</summary>
    Denied,

    /// <summary>It answered 409 already when it could not have the batch, so it means something else by that.</summary>
    Other,
}

/// <summary>
/// Consecutive readings, encoded once. Its boundaries and its id stay the same until the receiver has told what becomes
/// of it; only one that has certainly not arrived may be cut anew.
/// </summary>
/// <param name="Epoch">The epoch of the buffer that the readings come from.</param>
/// <param name="Readings">At least one, in id order; their payloads are slices of <paramref name="Body"/>.</param>
/// <param name="Body">The body to send, the same for both sinks.</param>
internal sealed record Batch(string Epoch, IReadOnlyList<BufferedReading> Readings, ReadOnlyMemory<byte> Body)
{
    public Lane Lane { get; init; }

    /// <summary>It was sent before, by this run or the last, and the receiver may have it under this id.</summary>
    public bool MayHaveArrived { get; init; }

    /// <summary>What a 409 means, once the batch may have arrived.</summary>
    public ConflictMeaning Conflict { get; init; }

    /// <summary>Attempts of this run that the receiver did not answer in time.</summary>
    public int Timeouts { get; init; }

    /// <summary>A single reading from anywhere in the queue, to find out whether the receiver takes any.</summary>
    public bool IsSample { get; init; }

    public long FirstId => Readings[0].Id;

    public long LastId => Readings[^1].Id;

    /// <summary>Names this batch to receivers: <c>Idempotency-Key</c> and <c>$.mid</c>.</summary>
    public string Id => $"{Epoch}:{FirstId}-{LastId}";

    /// <summary>When its newest reading was taken, as far as is known: a restart, or a clock that is right at last, may
    /// know better.</summary>
    public DateTimeOffset CreatedAt => Readings[^1].RecordedAt;

    /// <summary>The ids of readings as ranges without holes. An id in a hole belongs to a reading that was not sent
    /// (one that came back from the dead letters meanwhile, say) and must not be
    /// acknowledged with the others.</summary>
    public static IEnumerable<(long First, long Last)> Ranges(IReadOnlyList<BufferedReading> readings)
    {
        for (var (start, i) = (0, 1); i <= readings.Count; i++)
        {
            if (i < readings.Count && readings[i].Id == readings[i - 1].Id + 1) continue;
            yield return (readings[start].Id, readings[i - 1].Id);
            start = i;
        }
    }
}
