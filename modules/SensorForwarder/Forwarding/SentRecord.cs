using System.Globalization;
using System.Text;
using SensorForwarder.Buffer;

namespace SensorForwarder.Forwarding;

/// <summary>
/// Remembers the batches that were sent or tried and not acknowledged, so that they keep their boundaries and ids also
/// across a restart. It stands in the buffer's file, and is written with commits that come anyway, so it costs no write
/// of its own; only after a failure, before the batch can go again, one is asked for. Used by the forwarder's loop
/// only.
/// </summary>
internal sealed class SentRecord(TelemetryBuffer buffer)
{
    // The largest batchSize.
    const int MaxReadings = 10_000;

    // The last digit of an entry is the lane, and from 2 on what a 409 means, too.
    const int LaneCount = 2;

    Entry[] _kept = [];

    // Set by whoever committed it, read by the loop.
    volatile Entry[] _committed = [];

    /// <summary>These are under way now, or wait to be sent again.</summary>
    public void Keep(IEnumerable<Batch> batches)
    {
        Entry[] now =
        [
            .. batches.Select(batch => new Entry(
                batch.Epoch, batch.FirstId, batch.LastId, batch.Readings.Count, batch.Lane, batch.Conflict)),
        ];
        if (now.AsSpan().SequenceEqual(_kept)) return;
        _kept = now;
        buffer.KeepNote(() => Write(now));
    }

    /// <summary>What is kept must be on the medium soon, since a batch will go again. Nothing is written for one that
    /// is there already.</summary>
    public async Task CommitAsync(CancellationToken cancellationToken)
    {
        var (kept, committed) = (_kept, _committed);
        if (kept.All(entry => committed.Contains(entry))) return;
        await buffer.CommitAsync(cancellationToken);
        _committed = kept;
    }

    /// <summary>The batches that the last run left, as they were, in the order of ids. One is left out when the rows in
    /// its range are not the same any more: its id would name something else.</summary>
    /// <exception cref="BufferUnavailableException">The volume can't be read now.</exception>
    public IReadOnlyList<(IReadOnlyList<BufferedReading> Readings, Lane Lane, ConflictMeaning Conflict)> Load()
    {
        var found = new List<(IReadOnlyList<BufferedReading> Readings, Lane Lane, ConflictMeaning Conflict)>();
        var through = 0L;
        _kept = _committed = [.. Parse(buffer.LoadNote() ?? "")];
        foreach (var entry in _kept.Where(entry => entry.Epoch == buffer.Epoch).OrderBy(entry => entry.First))
        {
            if (entry.First <= through) continue;
            var readings = buffer.PeekBatch(entry.First - 1, entry.Count, int.MaxValue);
            if (readings.Count != entry.Count || readings[0].Id != entry.First
                || readings[^1].Id != entry.Last) continue;
            found.Add((readings, entry.Lane, entry.Conflict));
            through = entry.Last;
        }

        return found;
    }

    static string Write(Entry[] entries)
    {
        var text = new StringBuilder();
        foreach (var entry in entries)
        {
            if (text.Length > 0) text.Append('\n');
            var digit = (LaneCount * (int)entry.Conflict) + (int)entry.Lane;
            text.Append(
                CultureInfo.InvariantCulture, $"{entry.Epoch} {entry.First} {entry.Last} {entry.Count} {digit}");
        }

        return text.ToString();
    }

    // What does not read is left out: it costs a batch its old boundaries, and nothing else.
    static IEnumerable<Entry> Parse(string text)
    {
        foreach (var line in text.Split('\n'))
        {
            if (line.Split(' ') is [var epoch, var first, var last, var count, [>= '0' and <= '5' and var digit]]
                && long.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out var firstId) && firstId > 0
                && long.TryParse(last, NumberStyles.None, CultureInfo.InvariantCulture, out var lastId)
                && int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var readings)
                    && readings is > 0 and <= MaxReadings)
            {
                var (conflict, lane) = Math.DivRem(digit - '0', LaneCount);
                yield return new(epoch, firstId, lastId, readings, (Lane)lane, (ConflictMeaning)conflict);
            }
        }
    }

    readonly record struct Entry(string Epoch, long First, long Last, int Count, Lane Lane, ConflictMeaning Conflict);
}
