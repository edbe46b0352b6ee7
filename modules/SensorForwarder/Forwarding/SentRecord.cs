using System.Globalization;
using System.Text;
using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Saves the boundaries of batches that were sent and not acknowledged, so that they are sent again with the same
/// boundaries and ids after a restart. Stored as the buffer's note, which is written with the next commit. A commit is
/// requested only after a failure, before a batch is sent again. Used by the forwarder's loop only.
/// </summary>
internal sealed class SentRecord(TelemetryBuffer buffer)
{
    // The upper limit of batchSize.
    const int MaxReadings = 10_000;

    // The first line of the custody books, which follow the entries.
    const string BooksMark = "custody\t";

    // The last character of an entry: the lanes of each ConflictMeaning. Versions without alarms skip an entry with a
    // letter.
    const string Codes = "01a23b45c";
    const int LaneCount = 3;

    Entry[] _kept = [];
    string _books = "";

    // Entries known to be on the medium. Set on the thread that completed the commit, read by the loop.
    volatile Entry[] _committed = [];

    /// <summary>Whether <see cref="Load"/> has read the note of the last run.</summary>
    public bool IsLoaded { get; private set; }

    /// <summary>The <see cref="Handovers.Books"/> of the last run; empty: none.</summary>
    public string LoadBooks()
    {
        var note = buffer.LoadNote();
        var at = $"\n{note}".IndexOf($"\n{BooksMark}", StringComparison.Ordinal);
        return at < 0 ? "" : note[at..];
    }

    /// <summary>Replaces the note once the note of the last run was read. Written with the next commit.
    /// After a restart, each of the batches may have arrived: a kill loses the answers to those in flight.</summary>
    /// <param name="books"><see cref="Handovers.Books"/>.</param>
    public void Keep(IEnumerable<Batch> inFlight, IEnumerable<Batch> again, string books)
    {
        if (!IsLoaded) return;
        Entry[] now =
        [
            .. inFlight.Select(batch => Entry.Of(
                batch, batch.Conflict == ConflictMeaning.Denied ? ConflictMeaning.Stored : batch.Conflict)),
            .. again.Select(batch => Entry.Of(batch, batch.MayHaveArrived ? batch.Conflict : ConflictMeaning.Denied)),
        ];
        if (books == _books && now.AsSpan().SequenceEqual(_kept)) return;
        (_kept, _books) = (now, books);
        buffer.KeepNote(() => Write(now) + books);
    }

    /// <summary>Requests a commit if an entry is not on the medium yet. Called before a batch is sent again.</summary>
    public async Task CommitAsync()
    {
        var (kept, committed) = (_kept, _committed);
        if (kept.All(entry => committed.Contains(entry))) return;
        await buffer.CommitAsync(CancellationToken.None);
        _committed = kept;
    }

    /// <summary>The batches of the last run, in the order of ids. A batch whose range no longer holds the same readings
    /// is left out: a batch id must never identify different content.</summary>
    /// <exception cref="BufferUnavailableException">The volume can't be read now.</exception>
    public IReadOnlyList<(IReadOnlyList<BufferedReading> Readings, Lane Lane, ConflictMeaning Conflict)> Load()
    {
        var found = new List<(IReadOnlyList<BufferedReading> Readings, Lane Lane, ConflictMeaning Conflict)>();
        var through = 0L;
        _kept = _committed = [.. Parse(buffer.LoadNote())];
        foreach (var entry in _kept.OrderBy(entry => entry.First))
        {
            if (entry.First <= through) continue;
            var readings = buffer.PeekBatch(entry.First - 1, entry.Count, int.MaxValue);
            if (readings.Count != entry.Count || readings[0].Epoch != entry.Epoch || readings[0].Id != entry.First
                || readings[^1].Id != entry.Last) continue;
            found.Add((readings, entry.Lane, entry.Conflict));
            through = entry.Last;
        }

        IsLoaded = true;
        return found;
    }

    static string Write(Entry[] entries)
    {
        var text = new StringBuilder();
        foreach (var entry in entries)
        {
            var code = Codes[(LaneCount * (int)entry.Conflict) + (int)entry.Lane];
            text.Append(
                CultureInfo.InvariantCulture, $"{entry.Epoch} {entry.First} {entry.Last} {entry.Count} {code}\n");
        }

        return text.ToString();
    }

    // An entry that can't be parsed is skipped: its readings are sent in new batches.
    static IEnumerable<Entry> Parse(string text)
    {
        foreach (var line in text.Split('\n'))
        {
            if (line.Split(' ') is
                [var epoch, var first, var last, var count, [var letter]]
                && Codes.IndexOf(letter, StringComparison.Ordinal) is var code and >= 0
                && long.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out var firstId) && firstId > 0
                && long.TryParse(last, NumberStyles.None, CultureInfo.InvariantCulture, out var lastId)
                && int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var readings)
                    && readings is > 0 and <= MaxReadings)
            {
                var (conflict, lane) = Math.DivRem(code, LaneCount);
                yield return new(epoch, firstId, lastId, readings, (Lane)lane, (ConflictMeaning)conflict);
            }
        }
    }

    readonly record struct Entry(string Epoch, long First, long Last, int Count, Lane Lane, ConflictMeaning Conflict)
    {
        public static Entry Of(Batch batch, ConflictMeaning conflict) =>
            new(batch.Epoch, batch.FirstId, batch.LastId, batch.Readings.Count, batch.Lane, conflict);
    }
}
