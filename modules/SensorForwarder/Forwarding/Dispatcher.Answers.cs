using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>The part of the dispatcher that makes of each answer what becomes of its batch.</summary>
internal sealed partial class Dispatcher
{
    /// <summary>Whether a refused reading may go to the dead letters. Those that go stay away until a person fetches
    /// them.
    /// </summary>
    bool MayPutAside =>
        _rejectedInARow < RejectedInARowMax || timeProvider.GetElapsedTime(_putAsideAt) >= OneMoreAsideEvery;

    void Settle(Batch batch, SendResult result)
    {
        // An answer that is about readings says nothing against the link.
        Status = Status with { LastError = null };
        if (result.Partial is { } partial)
            result = SettleParts(batch, result, partial);
        else if (result.Outcome == SendOutcome.Accepted)
            Accept(batch, batch.Readings, batch.Body.Length);
        else if (IsRefusal(result) && batch.Readings.Count > 1)
            Halve(batch, result);
        else if (!IsRefusal(result))
            Fail(batch, result);
        else if (!TryPutAside(batch.Readings[0], result.Outcome.ToString(), result.Reason))
            Fail(batch, result with
            {
                Reason = $"{result.Reason}; it refused those before, too: they stay in the "
                + "queue, and only one an hour goes to the dead letters, until it takes one"
            });

        if (result.Outcome != SendOutcome.Accepted)
            Status = Status with
            {
                LastFailure = new(
                result.Reason, Moment.Now(timeProvider)),
                Failures = Status.Failures + 1
            };
    }

    void Accept(Batch batch, IReadOnlyList<BufferedReading> readings, int bytes)
    {
        foreach (var (first, last) in Batch.Ranges(readings))
            Note(buffer.AcknowledgeAsync(first, last, CancellationToken.None));
        if (_circuit.Failures > 0) Log.Recovered(logger, Status.Sink, _circuit.Failures);
        _circuit.Succeeded();
        _rejectedInARow = 0;
        Status = Status with
        {
            LastSuccess = Moment.Now(timeProvider),
            LastError = null,
            Batches = Status.Batches + 1,
            BackfillBatches = Status.BackfillBatches + (batch.Lane == Lane.Backfill ? 1 : 0),
            Readings = Status.Readings + readings.Count,
            Bytes = Status.Bytes + bytes,
        };
        _lastAccepted[(int)batch.Lane] = Status.LastSuccess;
    }

    /// <summary>A receiver that speaks of single readings: what it has is acknowledged, what it will never take is put
    /// aside, and the rest comes again.</summary>
    /// <returns>What the answer comes to.</returns>
    SendResult SettleParts(Batch batch, SendResult result, PartialAnswer partial)
    {
        bool IsAccepted(BufferedReading reading) => partial.Accepted?.Contains(reading.Id)
            ?? (result.Outcome == SendOutcome.Accepted && !partial.Rejected.ContainsKey(reading.Id));

        // One that refuses every reading of a batch may be broken; one that names some knows what it says.
        var isAll = batch.Readings.All(reading => partial.Rejected.ContainsKey(reading.Id));
        var accepted = batch.Readings.Where(IsAccepted).ToList();
        if (accepted.Count > 0) Accept(batch, accepted, batch.Body.Length);
        var rest = Runs(batch.Readings, reading => !IsAccepted(reading) && !IsPutAside(reading));
        if (rest.Count == 1 && rest[0].Count == batch.Readings.Count)
        {
            if (result.Outcome == SendOutcome.Accepted) result = new(SendOutcome.Denied, "it has none of the readings");
            Fail(batch, result);
        }
        else
        {
            _failed.AddRange(rest.Select(run => _lanes.Part(batch, run)));
        }

        return result;

        bool IsPutAside(BufferedReading reading)
        {
            const string Reason = nameof(SendOutcome.Rejected);
            if (!partial.Rejected.TryGetValue(reading.Id, out var why)) return false;
            if (isAll) return TryPutAside(reading, Reason, why);
            PutAside(reading, Reason, why);
            return true;
        }
    }

    /// <summary>Those that come again, without a gap where one does not: else what is left could have the first and the
    /// last id of the whole, and so its id, and a receiver that knows batches by their id would
    /// take it for that.</summary>
    static List<List<BufferedReading>> Runs(
        IReadOnlyList<BufferedReading> readings, Func<BufferedReading, bool> comesAgain)
    {
        var runs = new List<List<BufferedReading>>();
        var isOpen = false;
        foreach (var reading in readings)
        {
            var isInRun = comesAgain(reading);
            if (isInRun && !isOpen) runs.Add([]);
            if (isInRun) runs[^1].Add(reading);
            isOpen = isInRun;
        }

        return runs;
    }

    void Halve(Batch batch, SendResult result)
    {
        Log.Split(logger, batch.Id, Status.Sink, result.Reason);
        _failed.AddRange(_lanes.Split(batch, batch.Readings.Count / 2));
    }

    static bool IsRefusal(SendResult result) => result.Outcome is SendOutcome.TooLarge or SendOutcome.Rejected;

    void Fail(Batch batch, SendResult result)
    {
        if (!result.NotSent && !IsRefusal(result))
            batch = batch with { MayHaveArrived = true, Conflict = ConflictAfter(batch, result) };
        if (result.IsLate) batch = batch with { Timeouts = batch.Timeouts + 1 };
        _failed.Add(batch);
        _failure ??= (result, batch);
        Status = Status with { LastError = result.Reason, LastErrorAnswer = result.IsReached ? result.Outcome : null };
    }

    static ConflictMeaning ConflictAfter(Batch batch, SendResult result) => result switch
    {
        { IsConflict: true } => ConflictMeaning.Other,
        { IsFromElsewhere: true } => batch.MayHaveArrived ? batch.Conflict : ConflictMeaning.Denied,
        { Outcome: SendOutcome.Denied } when !batch.MayHaveArrived => ConflictMeaning.Denied,
        { Outcome: SendOutcome.Retry } when batch.Conflict == ConflictMeaning.Denied => ConflictMeaning.Stored,
        _ => batch.Conflict,
    };

    /// <summary>Puts a refused reading aside, unless too many were refused one after the other.</summary>
    bool TryPutAside(BufferedReading reading, string reason, string answer)
    {
        if (!MayPutAside) return false;
        _rejectedInARow++;
        _putAsideAt = timeProvider.GetTimestamp();
        PutAside(reading, reason, answer);
        return true;
    }

    void PutAside(BufferedReading reading, string reason, string answer)
    {
        Log.DeadLettered(logger, reading.Id, Status.Sink, answer);
        Note(buffer.DeadLetterAsync(reading.Id, reason, answer, CancellationToken.None));
    }

    void BackOff(SendResult failure, Batch batch)
    {
        var delay = _circuit.Failed(failure);

        // What never left can be cut anew: the next attempt risks little. Anything else keeps its id.
        if (!batch.MayHaveArrived && batch.Readings.Count > Circuit.ProbeReadings)
        {
            _failed.Remove(batch);
            _failed.AddRange(_lanes.Split(batch, Circuit.ProbeReadings));
        }

        if (failure.Outcome == SendOutcome.Retry)
            Log.SendFailed(logger, Status.Sink, batch.Id, failure.Reason, delay.TotalSeconds);
        else
            Log.Denied(logger, Status.Sink, batch.Id, failure.Reason, delay.TotalSeconds);
    }
}
