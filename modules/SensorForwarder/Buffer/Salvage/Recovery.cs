using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging;
using SensorForwarder.Readings;

namespace SensorForwarder.Buffer;

/// <summary>
/// Copies the readings of old files into the open one while new readings are stored, a few pages at a time. Each step
/// is a command of the writer that also stores the position, so an interrupted salvage resumes. Runs as one background
/// task.
/// </summary>
/// <param name="limits">Returns the current limits.</param>
/// <param name="submit">Runs a change in a transaction of the writer.</param>
/// <param name="returned">Called when readings were restored.</param>
internal sealed class Recovery(
    DatabaseFile file, Func<BufferLimits> limits,
    Func<Func<Store, Recovery.Step>, CancellationToken, Task<Recovery.Step>> submit, Action returned,
    TimeProvider timeProvider, ILogger logger)
{
    const int MaxPieceBytes = 128 << 10;
    static readonly TimeSpan RoomRetry = TimeSpan.FromSeconds(10);
    static readonly TimeSpan FailureRetry = TimeSpan.FromMinutes(1);

    internal enum Outcome
    {
        /// <summary>The records were copied to the open file.</summary>
        Copied,

        /// <summary>Readings were evicted to make room; retry.</summary>
        MadeRoom,

        /// <summary>There is no room; wait.</summary>
        Full,

        /// <summary>The open file was itself replaced.</summary>
        Replaced,
    }

    /// <summary>The result of one transaction.</summary>
    /// <param name="Progress">The progress of this salvage.</param>
    /// <param name="Left">The unfinished salvages recorded in the open file.</param>
    internal readonly record struct Step(
        Outcome Outcome, SalvageProgress Progress, IReadOnlyList<SalvageProgress> Left);

    /// <summary>Copies all old files; returns when none is left.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        while (file.NextToRecover() is { } source)
            await RunAsync(source, cancellationToken);
    }

    /// <summary>Stores a record of a small table; ignores all other records.</summary>
    public static void PutSmall(OldRecord record, Records records, SqliteConnection connection)
    {
        switch (record)
        {
            case OldRecord.Clock(var segment):
                records.SaveClock(segment);
                break;
            case OldRecord.Epoch(var firstId, var name):
                records.SaveEpoch(firstId, name);
                break;
            case OldRecord.Document(var name, var content):
                records.SaveDocument(name, content);
                break;
            case OldRecord.Evicted(var columns):
                EvictionLedger.Put(connection, columns);
                break;
            default:
                break;
        }
    }

    // Retries after any failure.
    async Task RunAsync(RecoverySource source, CancellationToken cancellationToken)
    {
        var hasLogged = false;
        while (true)
        {
            try
            {
                await CopyAsync(source, cancellationToken);
                return;
            }
            catch (Exception e) when (e is not OperationCanceledException and not BufferUnavailableException)
            {
                if (!hasLogged)
                    BufferLog.SalvageStuck(
                        logger, source.Name, e.Message, source.Progress.Readings, FailureRetry.TotalSeconds);
                hasLogged = true;
                await Task.Delay(FailureRetry, timeProvider, cancellationToken);
            }
        }
    }

    async Task CopyAsync(RecoverySource source, CancellationToken cancellationToken)
    {
        if (!source.Exists)
            BufferLog.SalvageSourceGone(logger, source.Name, source.Progress.Readings);
        using var scanner = source.Open();
        using var cipher = file.NewCipher();
        var records = new OldRecords(cipher, source.Progress.IsPlain);
        var hasLoggedFull = false;
        while (true)
        {
            var progress = source.Progress;
            var piece = Collect(scanner, records, progress.NextPage, out var nextPage);
            var isLast = nextPage > scanner.Pages;
            var step = await submit(store => Copy(store, source, piece, nextPage, isLast), cancellationToken);
            file.Recovered(source, step.Progress, step.Left);
            switch (step.Outcome)
            {
                case Outcome.Replaced:
                    return;
                case Outcome.Full:
                    if (!hasLoggedFull)
                        BufferLog.SalvageWaits(logger, source.Name, progress.Readings);
                    hasLoggedFull = true;
                    await Task.Delay(RoomRetry, timeProvider, cancellationToken);
                    break;
                case Outcome.Copied when isLast:
                    Conclude(source, step.Progress, scanner.Faults + records.Faults);
                    return;
                case Outcome.Copied when piece.Exists(record => record is OldRecord.Readings):
                    returned();
                    break;
                default:
                    break;
            }
        }
    }

    void Conclude(RecoverySource source, SalvageProgress progress, int faults)
    {
        BufferLog.SalvageDone(logger, source.Name, progress.Readings + progress.DeadLetters, progress.Missing);
        if (faults > 0)
            BufferLog.SalvageSkipped(logger, source.Name, faults);
        else
            file.DeleteRecovered(source);
        returned();
    }

    List<OldRecord> Collect(PageScanner scanner, OldRecords old, uint page, out uint nextPage)
    {
        var records = new List<OldRecord>();
        var most = Math.Min(MaxPieceBytes, StorageBudget.Of(limits()).TransactionBytes);
        var bytes = 0L;
        for (nextPage = page; nextPage <= scanner.Pages && bytes < most && nextPage - page < 512; nextPage++)
        {
            foreach (var record in scanner.Records(nextPage).Select(old.Read).OfType<OldRecord>())
            {
                records.Add(record);
                bytes += record is OldRecord.Readings readings ? readings.StoredBytes : 256;
            }
        }
        return records;
    }

    // Runs inside a transaction, and again if that fails.
    Step Copy(Store store, RecoverySource source, List<OldRecord> piece, uint nextPage, bool isLast)
    {
        var progress = source.Progress;
        var noted = store.Meta.Salvaging;
        if (progress.File.Length > 0 && !noted.Contains(progress.Text))
            return new(Outcome.Replaced, progress, Parse(noted));
        if (piece.Count > 0 && MakeRoom(store) is var room and not Outcome.Copied)
            return new(room, progress, Parse(noted));
        var (keepsDelivered, letters) = (limits().RetainForwarded > TimeSpan.Zero, 0);
        var taken = IdSet.Empty;
        foreach (var record in piece)
        {
            switch (record)
            {
                case OldRecord.Readings readings:
                    taken = taken.Union(Copy(store, progress, readings, keepsDelivered));
                    break;
                case OldRecord.Letter letter when !HasLetter(store, letter.Reading.Id):
                    store.Records.AddDeadLetter(letter.Reading, letter.Reason, letter.Answer, letter.RefusedAtMs);
                    store.Deliver(IdSet.Of(letter.Reading.Id, letter.Reading.Id));
                    letters++;
                    break;
                default:
                    PutSmall(record, store.Records, store.Connection);
                    store.HasEvicted |= record is OldRecord.Evicted;
                    break;
            }
        }
        store.DeadLettersChanged();
        var after = progress with
        {
            NextPage = nextPage,
            Readings = progress.Readings + taken.Count,
            DeadLetters = progress.DeadLetters + letters,
            FirstId = taken.IsEmpty ? progress.FirstId
                : progress.FirstId == 0 ? taken.First
                : Math.Min(progress.FirstId, taken.First),
            LastId = taken.IsEmpty ? progress.LastId : Math.Max(progress.LastId, taken.Last),
        };
        if (isLast)
            Conclude(store, after, noted.Where(text => text != progress.Text));
        else if (progress.File.Length > 0)
            store.Meta.Salvaging = [.. noted.Select(text => text == progress.Text ? after.Text : text)];
        return new(Outcome.Copied, after, Parse(store.Meta.Salvaging));
    }

    // Keeps the ids, so that a reading that is being sent stays the same reading.
    static IdSet Copy(
        Store store, SalvageProgress progress, OldRecord.Readings old, bool keepsDelivered)
    {
        var letters = store.Records.ReadDeadLetterIds(old.All[0].Id);
        bool IsDelivered(StoredReading reading) =>
            old.AreDelivered || progress.Delivered.Contains(reading.Id) || letters.Contains(reading.Id);

        var known = old.All.Where(reading => reading.Id <= progress.LastOldId).ToList();
        var waiting = store.Restore(known.FindAll(reading => !IsDelivered(reading)));
        if (keepsDelivered)
            store.Deliver(store.Restore(known.FindAll(IsDelivered)));
        // Ids above the highest known when the file was set aside belong to new readings by now, so assign new ones.
        foreach (var reading in old.All.Skip(known.Count).Where(reading => !IsDelivered(reading)))
        {
            store.Append(reading.RecordedAtMs, reading.Clock, reading.Payload.Span);
            waiting = waiting.Union(IdSet.Of(store.LastId, store.LastId));
        }
        return waiting;
    }

    static bool HasLetter(Store store, long id) =>
        store.Records.ReadDeadLetters(id - 1, 1, long.MaxValue) is [var (letter, _, _)] && letter.Id == id;

    // On a nearly full volume, leaves the room to new readings. A transaction that evicts readings copies none.
    Outcome MakeRoom(Store store)
    {
        var (whenFull, budget) = (limits().WhenFull, StorageBudget.Of(limits()));
        if (file.Files.FreeBytes < (4L * budget.ReserveBytes) + (4 * MaxPieceBytes))
            return Outcome.Full;
        if (!Bounds.IsOver(store, budget, 2 * budget.TransactionBytes, Segments.MaxReadings))
            return Outcome.Copied;
        if (store.DropDelivered(long.MaxValue) > 0)
            return Outcome.MadeRoom;
        return whenFull != WhenFull.RejectNew
            && (Bounds.Merge(store, Bounds.WholeFrom(store) - 1, TimeSpan.Zero)
                || (whenFull == WhenFull.Thin && Bounds.Thin(store) > 0) || Bounds.DropOldest(store) > 0)
                ? Outcome.MadeRoom
                : Outcome.Full;
    }

    static void Conclude(Store store, SalvageProgress progress, IEnumerable<string> left)
    {
        if (progress.Missing > 0)
        {
            EvictionLedger.Add(
                store, EvictionLedger.Damaged, new Dictionary<string, long> { ["?"] = progress.Missing },
                progress.FirstId, progress.LastId);
        }
        if (!progress.IsWhole)
            store.Meta.Salvaged = progress.ToReport(isComplete: true).Text;
        store.Meta.Salvaging = [.. left];
    }

    static List<SalvageProgress> Parse(IReadOnlyList<string> texts) =>
        [.. texts.Select(SalvageProgress.Parse).OfType<SalvageProgress>()];
}

/// <summary>An old file whose readings are to be copied.</summary>
internal sealed class RecoverySource(SalvageProgress progress, VolumeFiles files)
{
    // Set for deleted or renamed files, which can be read only through open streams.
    (Stream Database, Stream Log)? _open;

    public RecoverySource(SalvageProgress progress, VolumeFiles files, (Stream Database, Stream Log) open)
        : this(progress, files) => _open = open;

    public SalvageProgress Progress { get; set; } = progress;

    public bool IsOpen => _open is not null;

    /// <summary>The number of pages, known after <see cref="Open"/>.</summary>
    public uint Pages { get; private set; } = uint.MaxValue;

    /// <summary>The name for messages.</summary>
    public string Name => _open is null ? files.In(Progress.File) : "the deleted or renamed file";

    public bool Exists => _open is not null || File.Exists(files.In(Progress.File));

    public PageScanner Open()
    {
        var scanner = _open is var (database, log)
            ? new PageScanner(database, log)
            : PageScanner.Open(files.In(Progress.File));
        Pages = scanner.Pages;
        return scanner;
    }
}
