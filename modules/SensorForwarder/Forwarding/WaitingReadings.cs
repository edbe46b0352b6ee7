using System.Text;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub.Upstream;
using SensorForwarder.Readings;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Everything that waits to be sent: readings that are in no batch yet ("fresh"), and batches to send again. Saves in
/// the buffer what became of sent readings: handed over, delivered, waiting again, dead letter; the next batch does not
/// wait for the commit of these changes. Used by the forwarder's loop only, except for members marked "any thread".
/// </summary>
internal sealed class WaitingReadings(
    TelemetryBuffer buffer, BatchCutter cutter, SentRecord sent, TimeProvider timeProvider, ILogger logger)
{
    static readonly TimeSpan DeadLetterInterval = TimeSpan.FromHours(1);

    // The live lane may lag by two upload intervals plus this time, enough for a few requests on a slow line.
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    readonly CommitAges _ages = new(timeProvider);
    readonly SortedDictionary<long, Batch> _again = []; // by first id
    readonly Dictionary<long, Task> _deadLetters = []; // readings that become dead letters, by id

    // The boundaries of handed-over batches, and of those that edgeHub has lost since: they are sent again with the
    // same boundaries. By first id.
    readonly Dictionary<long, (long LastId, int Count)> _handedOver = [];
    readonly SortedDictionary<long, (long LastId, int Count)> _returned = [];
    IdSet _taken = IdSet.Empty; // ids that are or were in a batch, or have no reading
    IdSet _urgent = IdSet.Empty;
    int _rejectedInARow;
    long _deadLetteredAt;
    volatile bool _isStale;
    volatile IdSet _replayed = IdSet.Empty; // changed under _gate
    readonly Lock _gate = new();

    /// <summary>Readings that are in no batch.</summary>
    public IdSet Fresh { get; private set; } = IdSet.Empty;

    /// <summary>Those of <see cref="Fresh"/> that are alarms.</summary>
    public IdSet Urgent => _urgent.IsEmpty ? _urgent : Fresh.Intersect(_urgent);

    /// <summary>The highest committed id at the last <see cref="Refresh"/>.</summary>
    public long LastId { get; private set; }

    /// <summary>The highest id of the backlog; readings above it are live.</summary>
    public long LiveAfter { get; private set; }

    /// <summary>Batches to send again, in the order of ids.</summary>
    public SortedDictionary<long, Batch>.ValueCollection Again => _again.Values;

    /// <summary>Delivered readings to replay on request.</summary>
    public IdSet Replayed => _replayed;

    /// <summary>How many refused readings may become dead letters now. Dead letters are sent again only if a person
    /// requests it.</summary>
    public int DeadLetterRoom => _rejectedInARow < Outcome.RejectedInARowMax
        ? Outcome.RejectedInARowMax - _rejectedInARow
        : timeProvider.GetElapsedTime(_deadLetteredAt) >= DeadLetterInterval ? 1 : 0;

    /// <summary>Readings delivered since the start.</summary>
    public long Delivered { get; private set; }

    /// <summary>Completes when all changes so far have completed. Never fails.</summary>
    public Task Settling { get; private set; } = Task.CompletedTask;

    /// <summary>Readings were returned or salvaged: ids that were taken may be fresh again. Any thread.</summary>
    public void Invalidate() => _isStale = true;

    /// <summary>Finds delivered readings that are still in the buffer, and adds them to <see cref="Replayed"/>. Any
    /// thread.</summary>
    /// <param name="from">The earliest time at which a reading was recorded.</param>
    /// <param name="sensors">Null: all sensors.</param>
    public IdSet Replay(
        DateTimeOffset from, DateTimeOffset to, IReadOnlyList<string>? sensors, CancellationToken cancellationToken)
    {
        const int RowsAtOnce = 10_000;
        var beginnings = sensors?.Select(ReadingEncoder.BeginningOf).Select(Encoding.UTF8.GetBytes).ToList();
        bool IsWanted(DateTimeOffset time, ReadOnlyMemory<byte> payload) => time >= from && time <= to
            && (beginnings is null || beginnings.Exists(beginning => payload.Span.StartsWith(beginning)));

        using var history = buffer.OpenHistory();
        var ids = IdSet.Empty;
        for (long? after = 0; after is not null;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            (var found, after) = history.FindDelivered(after.Value, RowsAtOnce, IsWanted);
            ids = ids.Union(found);
        }

        lock (_gate) _replayed = _replayed.Union(ids);
        return ids;
    }

    /// <summary>Asks the buffer which readings wait now. Called in every turn, even while nothing can be sent, because
    /// <see cref="CommitAges"/> needs it.</summary>
    /// <param name="settings">Null before the first settings are known.</param>
    /// <param name="inFlight">The batches in flight.</param>
    public void Refresh(ForwardingSettings? settings, IEnumerable<Batch> inFlight)
    {
        if (_isStale)
        {
            _isStale = false;
            foreach (var (id, moving) in _deadLetters.ToList())
            {
                if (moving.IsCompleted) _deadLetters.Remove(id);
            }

            // Not the whole range of a batch: an alarm with an id in between may have been returned.
            _taken = inFlight.Concat(Again).Select(batch => batch.Ids).Append(IdSet.Of(_deadLetters.Keys))
                .Aggregate(IdSet.Empty, (taken, ids) => taken.Union(ids));
        }

        (var waiting, LastId) = buffer.Waiting;
        Fresh = waiting.Except(_taken);
        _urgent = buffer.Urgent;
        if (settings is null) return;
        if (!sent.IsLoaded) Start(settings);
        _ages.Note(LastId, LongestLag(settings));
    }

    /// <summary>Moves the older live readings to the backlog when the live lane lags too far behind. Called when a
    /// batch may be sent.</summary>
    public void LimitLag(ForwardingSettings settings)
    {
        if (settings.DrainOrder == DrainOrder.OldestFirst) return;
        var live = Fresh.Except(IdSet.Of(0, LiveAfter)).Except(Replayed).Except(_urgent);
        if (!live.IsEmpty && live.First <= _ages.CommittedBefore(LongestLag(settings)))
            LiveAfter = _ages.CommittedBefore(LongestLag(settings) / 2);
    }

    /// <summary>Takes a new batch of readings that are in no batch yet. Replayed readings get batches of their own. A
    /// batch that edgeHub lost is made again with the same boundaries.</summary>
    /// <param name="due">If the result is null: time until a batch is due; null: try again now.</param>
    public Batch? Cut(Plan plan, Closing closing, Random random, out TimeSpan? due)
    {
        due = null;
        var (lane, ids) = (plan.Lane!.Value, plan.Ids);
        if (plan.IsSample)
            (ids, closing) = (ids.Except(ids.Take(random.NextInt64(ids.Count))), closing with { Most = 1 });
        var isReplay = Replayed.Contains(ids.First);
        ids = isReplay ? ids.Intersect(Replayed) : ids.Except(Replayed);
        if (_returned.Remove(ids.First, out var lost) && cutter.Again(ids, lane, lost.LastId, lost.Count) is { } again)
        {
            Take(again.Range);
            return again;
        }

        var nextReturned = _returned.Keys.FirstOrDefault(first => first > ids.First, long.MaxValue);
        var within = ids.Intersect(IdSet.Of(0, nextReturned - 1));
        var cut = cutter.Next(within, lane, plan.CanGrow && within.Last == ids.Last, closing);
        Take(cut.Taken);
        due = cut.Due;
        return cut.Batch is { } batch ? batch with { IsSample = plan.IsSample, IsReplay = isReplay } : null;
    }

    /// <summary>Removes ids from <see cref="Fresh"/>: they are in a batch, or have no reading.</summary>
    public void Take(IdSet ids)
    {
        _taken = _taken.Union(ids);
        Fresh = Fresh.Except(ids);
        if (_replayed.IsEmpty) return;
        lock (_gate) _replayed = _replayed.Except(ids);
    }

    /// <summary>Removes a batch that is being sent again.</summary>
    public void Take(Batch again) => _again.Remove(again.FirstId);

    /// <summary>Adds a batch to send again, before new batches of its lane. A sample that certainly did not arrive
    /// becomes a fresh reading instead.</summary>
    public void GiveBack(Batch batch)
    {
        if (!batch.IsSample || batch.MayHaveArrived)
        {
            _again.Add(batch.FirstId, batch);
            return;
        }

        _taken = _taken.Except(batch.Range);
        Fresh = Fresh.Union(batch.Range);
    }

    /// <summary>Carries out what an answer means for the readings of a batch. The caller retries
    /// <see cref="Outcome.Again"/>.</summary>
    /// <param name="sink">For the log.</param>
    /// <param name="handovers">Null: accepted readings are delivered.</param>
    public void CarryOut(Batch batch, Outcome outcome, string sink, Handovers? handovers)
    {
        var isAnyAccepted = outcome.Accepted.Count > 0;
        if (isAnyAccepted) Accept(batch, outcome.Accepted, handovers);
        else handovers?.Failed(batch);
        _rejectedInARow = outcome.Rejected + (isAnyAccepted ? 0 : _rejectedInARow);
        if (outcome.DeadLetters.Count > 0) _deadLetteredAt = timeProvider.GetTimestamp();
        foreach (var (reading, reason, answer) in outcome.DeadLetters)
        {
            ForwardingLog.DeadLettered(logger, reading.Id, sink, answer);
            var moving = buffer.DeadLetterAsync(reading.Id, reason, answer, CancellationToken.None);
            _deadLetters[reading.Id] = moving;
            Track(moving);
        }

        foreach (var part in outcome.Parts) GiveBack(cutter.Part(batch, part));
    }

    /// <summary>Carries out a verdict on handed-over readings.</summary>
    public void CarryOut(Verdict verdict)
    {
        var (delivered, returned) = (verdict.Delivered, verdict.Returned);
        foreach (var first in _handedOver.Keys.Where(id => delivered.Contains(id) || returned.Contains(id)).ToList())
        {
            _handedOver.Remove(first, out var batch);
            if (returned.Contains(first)) _returned[first] = batch;
        }

        Delivered += delivered.Count;
        if (!delivered.IsEmpty) Track(buffer.AcknowledgeAsync(delivered, CancellationToken.None));
        Return(returned);
    }

    /// <summary>Changes readings from handed over to waiting.</summary>
    public void Return(IdSet ids)
    {
        if (!ids.IsEmpty) Track(buffer.GiveBackAsync(ids, CancellationToken.None));
    }

    /// <summary>Adds a change to <see cref="Settling"/>, and logs its failure.</summary>
    public void Track(Task change)
    {
        var before = Settling;
        Settling = ObserveAsync();

        async Task ObserveAsync()
        {
            try
            {
                await change;
            }
            catch (Exception exception)
            {
                ForwardingLog.AcknowledgeFailed(logger, exception);
            }

            await before;
        }
    }

    /// <summary>Splits a batch that has certainly not arrived, so that its first part is as small as a probe.</summary>
    public void SplitForProbe(Batch batch)
    {
        _again.Remove(batch.FirstId);
        GiveBack(cutter.Part(batch, batch.Readings.Take(Circuit.ProbeReadings)));
        GiveBack(cutter.Part(batch, batch.Readings.Skip(Circuit.ProbeReadings)));
    }

    /// <summary>The receiver changed, and the new one has none of the batches to send again.</summary>
    public void ForgetReceiver()
    {
        foreach (var (first, batch) in _again.ToList())
            _again[first] = batch with { Conflict = ConflictMeaning.Denied };
    }

    /// <summary>Whether the oldest waiting reading, apart from replayed ones, is older than the live lane may lag.
    /// </summary>
    public bool IsBehind(ForwardingSettings settings) =>
        FirstOf(Fresh.Except(Replayed), Again) <= _ages.CommittedBefore(LongestLag(settings));

    /// <summary>The lowest id that waits or is in flight; <see cref="LastId"/> + 1 when there is none.</summary>
    public long FirstId(IEnumerable<Batch> inFlight) => FirstOf(Fresh, inFlight.Concat(Again));

    void Accept(Batch batch, IReadOnlyList<BufferedReading> readings, Handovers? handovers)
    {
        var ids = readings.Count == batch.Readings.Count
            ? batch.Ids
            : IdSet.Of(readings.Select(reading => reading.Id));
        if (handovers?.IsDelivered(batch) == false)
        {
            Track(buffer.HandOverAsync(ids, CancellationToken.None));
            _handedOver[batch.FirstId] = (batch.LastId, batch.Readings.Count);
        }
        else
        {
            Track(buffer.AcknowledgeAsync(ids, CancellationToken.None));
            Delivered += readings.Count;
        }
    }

    long FirstOf(IdSet fresh, IEnumerable<Batch> batches) => batches.Aggregate(
        fresh.IsEmpty ? LastId + 1 : fresh.First, (first, batch) => Math.Min(first, batch.FirstId));

    static TimeSpan LongestLag(ForwardingSettings settings) => (2 * settings.UploadInterval) + Patience;

    // Readings of the last run are backlog, except recent ones; their age is known by the wall clock only. Batches of
    // the last run that were not acknowledged are sent first, with the same boundaries.
    void Start(ForwardingSettings settings)
    {
        _ages.SetOld(cutter.LastBefore(timeProvider.GetUtcNow() - (LongestLag(settings) / 2)));
        foreach (var (readings, lane, conflict) in sent.Load())
        {
            var batch = cutter.Whole(readings, lane) with { MayHaveArrived = true, Conflict = conflict };
            _again.Add(batch.FirstId, batch);
            Take(batch.Range);
        }
    }
}
