using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// What the answer to a batch means for its readings. <see cref="Apply"/> is the failure table, as a pure function;
/// <see cref="Forwarder"/> carries out its result.
/// </summary>
internal sealed record Outcome
{
    /// <summary>After this many rejected readings in a row, the fault may be in the receiver, not in the readings. The
    /// other readings stay in the buffer, and one an hour becomes a dead letter, until a reading is accepted.</summary>
    public const int RejectedInARowMax = 5;

    /// <summary>The answer as the sink understood it.</summary>
    public required SendResult Result { get; init; }

    /// <summary>Why the batch is sent again; empty: it is not.</summary>
    public string Error { get; init; } = "";

    /// <summary>Readings that the receiver has.</summary>
    public IReadOnlyList<BufferedReading> Accepted { get; init; } = [];

    /// <summary>Readings that become dead letters, with the receiver's answer.</summary>
    public IReadOnlyList<(BufferedReading Reading, string Reason, string Answer)> DeadLetters { get; init; } = [];

    /// <summary>How many readings of <see cref="DeadLetters"/> count towards <see cref="RejectedInARowMax"/>.</summary>
    public int Rejected { get; init; }

    /// <summary>Readings to send again, each list as a separate batch.</summary>
    public IReadOnlyList<IReadOnlyList<BufferedReading>> Parts { get; init; } = [];

    /// <summary>Whether the batch was halved, because it is too large or one of its readings was rejected.</summary>
    public bool IsSplit { get; init; }

    /// <summary>The batch to send again after a back-off, with the same readings; null: the attempt did not fail.
    /// </summary>
    public Batch? Again { get; init; }

    /// <param name="room">How many refused readings may become dead letters now.</param>
    public static Outcome Apply(Batch batch, SendResult result, int room)
    {
        var half = batch.Readings.Count / 2;
        if (result.Partial is { } partial) return ApplyParts(batch, result, partial, room);
        if (result.Outcome == SendOutcome.Accepted) return new() { Result = result, Accepted = batch.Readings };
        if (!IsRefusal(result)) return Fail(batch, result);
        if (half > 0)
            return new()
            {
                Result = result,
                Parts = [[.. batch.Readings.Take(half)], [.. batch.Readings.Skip(half)]],
                IsSplit = true,
            };
        if (room > 0)
            return new()
            {
                Result = result,
                DeadLetters = [(batch.Readings[0], result.Outcome.ToString(), result.Reason)],
                Rejected = 1,
            };
        return Fail(batch, result) with
        {
            Error = $"{result.Reason}. The receiver has refused the last {RejectedInARowMax} readings or more. Keeping "
                + "the rest in the buffer and dead-lettering one an hour until it accepts one",
        };
    }

    // The answer names single readings. If all readings of the batch are rejected, the fault may be in the receiver, so
    // room limits the dead letters. If only some are, they become dead letters without a limit.
    static Outcome ApplyParts(Batch batch, SendResult result, PartialAnswer partial, int room)
    {
        bool IsAccepted(BufferedReading reading) => partial.Accepted?.Contains(reading.Id)
            ?? (result.Outcome == SendOutcome.Accepted && !partial.Rejected.ContainsKey(reading.Id));
        var accepted = batch.Readings.Where(IsAccepted).ToList();
        var refused = batch.Readings.Where(
            reading => partial.Rejected.ContainsKey(reading.Id) && !IsAccepted(reading)).ToList();
        var areAllRefused = batch.Readings.All(reading => partial.Rejected.ContainsKey(reading.Id));
        if (areAllRefused) refused = [.. refused.Take(accepted.Count > 0 ? RejectedInARowMax : room)];
        var outcome = new Outcome
        {
            Result = result,
            Accepted = accepted,
            DeadLetters = [.. refused.Select(
                reading => (reading, nameof(SendOutcome.Rejected), partial.Rejected[reading.Id]))],
            Rejected = areAllRefused ? refused.Count : 0,
        };
        var done = accepted.Concat(refused).Select(reading => reading.Id).ToHashSet();
        if (done.Count > 0) return outcome with { Parts = Runs(batch.Readings, done) };
        return Fail(batch, result.Outcome == SendOutcome.Accepted
            ? new(SendOutcome.Denied, "the answer is a success that accepts none of the readings")
            : result);
    }

    // Each run of consecutive readings becomes a batch. A batch with a gap could have the same first and last reading
    // as the original batch, and so the same batch id: the receiver would discard it as a duplicate.
    static List<List<BufferedReading>> Runs(IReadOnlyList<BufferedReading> readings, HashSet<long> done)
    {
        var runs = new List<List<BufferedReading>>();
        var isOpen = false;
        foreach (var reading in readings)
        {
            var isInRun = !done.Contains(reading.Id);
            if (isInRun && !isOpen) runs.Add([]);
            if (isInRun) runs[^1].Add(reading);
            isOpen = isInRun;
        }

        return runs;
    }

    static Outcome Fail(Batch batch, SendResult result)
    {
        if (!result.NotSent && !IsRefusal(result))
            batch = batch with { MayHaveArrived = true, Conflict = ConflictAfter(batch, result) };
        if (result.IsLate) batch = batch with { Timeouts = batch.Timeouts + 1 };
        if (result is { Outcome: SendOutcome.Retry, IsReached: true }) batch = batch with { Errors = batch.Errors + 1 };
        return new() { Result = result, Error = result.Reason, Again = batch };
    }

    static bool IsRefusal(SendResult result) => result.Outcome is SendOutcome.TooLarge or SendOutcome.Rejected;

    static ConflictMeaning ConflictAfter(Batch batch, SendResult result) => result switch
    {
        { IsConflict: true } => ConflictMeaning.Other,
        { IsFromElsewhere: true } => batch.MayHaveArrived ? batch.Conflict : ConflictMeaning.Denied,
        { Outcome: SendOutcome.Denied } when !batch.MayHaveArrived => ConflictMeaning.Denied,
        { Outcome: SendOutcome.Retry } when batch.Conflict == ConflictMeaning.Denied => ConflictMeaning.Stored,
        _ => batch.Conflict,
    };
}
