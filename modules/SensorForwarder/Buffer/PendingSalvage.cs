using System.Text;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Buffer;

/// <summary>
/// Takes the readings of a big damaged file over into the new one beside the work: piece by piece, each a command of
/// the writer. Readers see them when all are there, since an acknowledgement names a range of ids and would take those
/// with it that came in between. One task.
/// </summary>
/// <param name="limits">Those in force.</param>
/// <param name="submit">Runs a change inside a transaction of the writer.</param>
internal sealed class PendingSalvage(
    DatabaseFile file, Func<BufferLimits> limits,
    Func<Func<QueueStore, PendingSalvage.Step>, CancellationToken, Task<PendingSalvage.Step>> submit,
    TimeProvider timeProvider, ILogger logger)
{
    const int MaxPieceBytes = 256 << 10;
    static readonly TimeSpan RoomRetry = TimeSpan.FromSeconds(10);
    static readonly TimeSpan FailureRetry = TimeSpan.FromMinutes(1);

    internal enum Outcome
    {
        /// <summary>The piece is in the new file.</summary>
        TookOver,

        /// <summary>Something was evicted; try again.</summary>
        MadeRoom,

        /// <summary>There is no room, and none is to be made.</summary>
        Full,

        /// <summary>The new file was damaged and replaced in turn.</summary>
        Replaced,
    }

    /// <summary>What one transaction did.</summary>
    /// <param name="Progress">Of this salvage.</param>
    /// <param name="Left">What is to be gone on with, as the file says.</param>
    /// <param name="Faults">Records that were skipped because of a fault of the program.</param>
    internal readonly record struct Step(
        Outcome Outcome, SalvageProgress Progress, SalvageProgress? Left, int Faults = 0);

    /// <summary>Returns when nothing is left to be taken over.</summary>
    /// <returns>Whether anything was.</returns>
    public async Task<bool> RunAsync(CancellationToken cancellationToken)
    {
        var any = false;
        while (file.Pending is { } progress)
        {
            any = true;
            await RunAsync(progress, cancellationToken);
        }
        return any;
    }

    // What fails is retried: until all is copied, what was copied so far stays hidden from readers.
    async Task RunAsync(SalvageProgress progress, CancellationToken cancellationToken)
    {
        var saidFailed = false;
        while (true)
        {
            try
            {
                await CopyAsync(progress, cancellationToken);
                return;
            }
            catch (Exception e) when (e is not OperationCanceledException and not BufferUnavailableException)
            {
                progress = file.Pending ?? progress;
                if (!saidFailed)
                    Log.SalvageStuck(logger, progress.KeptAs, e.Message, progress.Readings, FailureRetry.TotalSeconds);
                saidFailed = true;
                await Task.Delay(FailureRetry, timeProvider, cancellationToken);
            }
        }
    }

    async Task CopyAsync(SalvageProgress progress, CancellationToken cancellationToken)
    {
        if (!File.Exists(progress.KeptAs))
            Log.SalvageSourceGone(logger, progress.KeptAs, progress.Readings);
        using var damaged = new DamagedFile(progress.KeptAs, progress.KeptAs + "-wal");
        var scanner = damaged.Scanner;
        var saidFull = false;
        var faults = 0;
        while (true)
        {
            var piece = Collect(scanner, progress.NextPage, out var nextPage);
            var isLast = nextPage > scanner.Pages;
            var before = progress;
            var step = await submit(store => TakeOver(store, before, piece, nextPage, isLast), cancellationToken);
            faults += step.Outcome == Outcome.TookOver ? step.Faults : 0;
            file.Pending = step.Left;
            progress = step.Progress;
            switch (step.Outcome)
            {
                case Outcome.Replaced:
                    return;
                case Outcome.Full:
                    if (!saidFull)
                        Log.SalvageWaits(logger, progress.KeptAs, progress.Readings);
                    saidFull = true;
                    await Task.Delay(RoomRetry, timeProvider, cancellationToken);
                    break;
                case Outcome.TookOver when isLast:
                    file.Salvage = (step.Left ?? progress).ToReport(isComplete: step.Left is null);
                    Log.SalvageDone(logger, progress.KeptAs, progress.Readings
                        + progress.DeadLetters, progress.Missing);
                    if (scanner.Faults + faults > 0)
                        Log.SalvageSkipped(logger, progress.KeptAs, scanner.Faults + faults);
                    return;
                default:
                    file.Salvage = progress.ToReport(isComplete: false);
                    break;
            }
        }
    }

    int PieceBytes => Math.Min(MaxPieceBytes, StorageBudget.Of(limits()).TransactionBytes);

    List<ScannedRecord> Collect(PageScanner scanner, uint page, out uint nextPage)
    {
        var records = new List<ScannedRecord>();
        var pages = PieceBytes / BufferSchema.PageBytes;
        for (nextPage = page; nextPage <= scanner.Pages && nextPage - page < pages; nextPage++)
            records.AddRange(scanner.Records(nextPage));
        return records;
    }

    // Inside a transaction, again when that fails.
    Step TakeOver(
        QueueStore store, SalvageProgress progress, List<ScannedRecord> piece, uint nextPage, bool isLast)
    {
        if (store.GetMeta(SalvageProgress.Name) is var stored && stored != progress.Text)
            return new Step(Outcome.Replaced, progress, SalvageProgress.Parse(stored));
        if (piece.Count > 0 && MakeRoom(store, piece.Count) is var room and not Outcome.TookOver)
            return new Step(room, progress, progress);
        var ids = piece.Where(r => r.RowId > 0).Select(r => r.RowId).DefaultIfEmpty(long.MaxValue);
        store.ForgetAcknowledged(ids.Min());
        using var cipher = file.NewCipher();
        using var records = new SalvagedRecords(store.Connection, cipher);
        var appended = 0;
        foreach (var record in piece)
        {
            records.Put(record, putReading: reading =>
            {
                if (reading.RowId <= progress.AcknowledgedThrough)
                    return true;
                if (reading.RowId <= progress.LastOldId)
                    return false;
                // Newer than what could be seen when the file was set aside: its id is another reading's by now.
                appended++;
                Append(store, cipher, reading);
                return true;
            });
        }
        store.TookOver(records.Readings, records.DeadLetters);
        var after = progress with
        {
            NextPage = nextPage,
            Readings = progress.Readings + records.Readings + appended,
            DeadLetters = progress.DeadLetters + records.DeadLetters,
            FirstId = progress.FirstId == 0 || (records.FirstId > 0 && records.FirstId < progress.FirstId)
                ? records.FirstId
                : progress.FirstId,
            LastId = Math.Max(progress.LastId, records.LastId),
        };
        if (isLast)
            Conclude(store, after);
        else
            store.SetMeta(SalvageProgress.Name, after.Text);
        return new Step(
            Outcome.TookOver, after, isLast ? SalvageProgress.Parse(store.GetMeta(SalvageProgress.Name)) : after,
            records.Faults);
    }

    // A volume that is nearly full is left to new readings. What must go goes in a transaction of its own, as ever.
    Outcome MakeRoom(QueueStore store, int rows)
    {
        var (whenFull, budget) = (limits().WhenFull, StorageBudget.Of(limits()));
        if (file.Files.FreeBytes < (4L * budget.ReserveBytes) + (4 * PieceBytes))
            return Outcome.Full;
        if (!Evictor.IsOver(store, budget, PieceBytes, rows))
            return Outcome.TookOver;
        if (store.ReclaimAll())
            return Outcome.MadeRoom;
        return whenFull != WhenFull.RejectNew
            && ((whenFull == WhenFull.Thin && Evictor.Thin(store) > 0) || Evictor.DropOldest(store) > 0)
                ? Outcome.MadeRoom
                : Outcome.Full;
    }

    static void Append(QueueStore store, PayloadCipher? cipher, ScannedRecord reading)
    {
        var stored = reading.Columns[3] as byte[] ?? Encoding.UTF8.GetBytes((string)reading.Columns[3]!);
        var payload = PayloadCipher.IsSealed(stored, reading.Columns[3] is byte[])
            ? cipher!.Unseal(reading.RowId, stored)!
            : stored;
        store.Append((long)reading.Columns[1]!, (int)(long)reading.Columns[2]!, payload);
    }

    static void Conclude(QueueStore store, SalvageProgress progress)
    {
        if (progress.Missing > 0)
        {
            EvictionLedger.Add(
                store, EvictionLedger.Damaged, new Dictionary<string, long> { ["?"] = progress.Missing },
                progress.FirstId, progress.LastId);
        }
        store.SetMeta(SalvageReport.MetaName, progress.ToReport(isComplete: true).Text);
        if (store.GetMeta(SalvageProgress.BeforeName) is { } before)
        {
            store.SetMeta(SalvageProgress.Name, before);
            store.RemoveMeta(SalvageProgress.BeforeName);
        }
        else
        {
            store.RemoveMeta(SalvageProgress.Name);
            store.RemoveMeta(QueueStore.HiddenName);
        }
    }
}
