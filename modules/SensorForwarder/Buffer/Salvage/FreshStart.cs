using Microsoft.Data.Sqlite;

namespace SensorForwarder.Buffer;

/// <summary>
/// Replaces a database that can't be used as it is (damaged, of format 1, or not encrypted) by a new one. The old file
/// is renamed, not changed; <see cref="Recovery"/> then copies its readings while new ones are stored. If it is
/// interrupted at any step, the next start continues. Used by the writer's thread.
/// </summary>
internal sealed class FreshStart(VolumeFiles files, BufferOptions options, TimeProvider timeProvider)
{
    const int MaxStraySealed = 3; // unreadable rows that may just look sealed because of damage
    const string Damaged = "telemetry.damaged-", Previous = "telemetry.previous-";

    // Damaged files that are kept as evidence; older ones are deleted.
    const int MaxKept = 3;

    /// <summary>Creates the new file with the small tables and the state of the old one, in bounded time, and renames
    /// the old file.</summary>
    /// <param name="reason">Why the old file is replaced.</param>
    /// <param name="isWhole">Whether the old file is undamaged.</param>
    /// <param name="isPlain">Whether the old file is unencrypted.</param>
    /// <param name="minLastId">The highest id known to have been assigned.</param>
    public SalvageProgress SetAside(string reason, bool isWhole, bool isPlain, long minLastId)
    {
        using var cipher = Cipher.For(options.Key);
        var records = new OldRecords(cipher, isPlain);
        List<OldRecord> sketch;
        using (var damaged = PageScanner.Open(files.Database))
            sketch = [.. damaged.Sketch().Select(records.Read).OfType<OldRecord>()];
        CheckKey(records, cipher, isPlain);
        // New readings get ids above all that the old file may contain.
        var lastId = Math.Max(minLastId, records.LastId());
        var state = records.State;
        var progress = new SalvageProgress(
            timeProvider.GetUtcNow(), reason, NameFor(isWhole), isWhole, isPlain, lastId,
            Expected: state is null ? -1 : state.Waiting + state.HandedOver.Count, NextPage: 1,
            0, 0, 0, 0, records.Delivered());
        DeleteLeftover();
        files.CreatePrivate(files.Salvage);
        using (var connection = Sqlite.Open(files.Salvage, SqliteOpenMode.ReadWrite, options.Vfs))
        {
            // No journal: after an interruption the file is deleted and created again. It is synced once, at the end.
            connection.Execute($"PRAGMA page_size={Schema.PageBytes}; PRAGMA journal_mode=OFF; "
                + "PRAGMA synchronous=FULL;");
            Schema.Create(connection, timeProvider.GetUtcNow());
            connection.Execute("BEGIN IMMEDIATE");
            Fill(connection, cipher, records, sketch, progress);
            connection.Execute("COMMIT");
        }
        files.SyncDirectory();
        PutInPlace(progress.File);
        return progress;
    }

    /// <summary>Finishes a replacement that was interrupted after the old file was renamed; discards one
    /// that was interrupted earlier.</summary>
    /// <returns>Whether one was finished.</returns>
    public bool FinishInterrupted()
    {
        if (File.Exists(files.Database) || !File.Exists(files.Salvage))
        {
            DeleteLeftover();
            return false;
        }
        // The old file is renamed only after the new one, which records the name to give it, was synced.
        string? name;
        using (var connection = Sqlite.Open(files.Salvage, SqliteOpenMode.ReadOnly, options.Vfs))
            name = new Meta(connection, null).Salvaging.Select(SalvageProgress.Parse).FirstOrDefault()?.File;
        PutInPlace(name ?? NameFor(isWhole: false));
        return true;
    }

    /// <summary>Deletes all but the newest damaged files, and never one that is still being salvaged.</summary>
    public void DeleteOldEvidence(IReadOnlyCollection<string> inUse)
    {
        foreach (var number in Numbers(Damaged).OrderDescending().Skip(MaxKept))
        {
            var name = $"{Damaged}{number}.db";
            if (inUse.Contains(name))
                continue;
            files.Delete(files.In(name));
            files.Delete(files.In(name) + "-wal");
        }
    }

    void Fill(
        SqliteConnection connection, Cipher? cipher, OldRecords old, List<OldRecord> sketch, SalvageProgress progress)
    {
        var records = new Records(connection, cipher);
        var meta = new Meta(connection, cipher);
        foreach (var record in sketch)
            Recovery.PutSmall(record, records, connection);
        if (old.MetaValues.GetValueOrDefault("epoch") is string epoch)
            records.SaveEpoch(1, epoch);
        if (connection.Number("SELECT count(*) FROM epoch") == 0)
            records.SaveEpoch(1, Guid.CreateVersion7(timeProvider.GetUtcNow()).ToString());
        // New clock segments must not get an id that readings of the old file refer to.
        records.SaveClock(new(Math.Max(1, old.LastClock), "?", 0, false));
        if (cipher is not null)
            meta.KeyCheck = cipher.MakeCheck();
        meta.State = new QueueState
        {
            Sequence = 1,
            LastId = progress.LastOldId,
            Delivered = progress.Delivered,
            Note = old.State?.Note ?? old.MetaValues.GetValueOrDefault("note") as string ?? "",
        };
        var before = old.MetaValues.GetValueOrDefault("salvaging") is not string unfinished ? (string[])[]
            : SalvageProgress.ParseFormat1(unfinished) is { } format1 ? [format1.Text]
            : unfinished.Split("\n\n");
        meta.Salvaging = [progress.Text, .. before];
        if (old.MetaValues.GetValueOrDefault("salvaged") is string salvaged)
            meta.Salvaged = salvaged;
    }

    // A few unreadable rows may look sealed because of damage. With more of them the key is probably wrong: the file is
    // left unchanged until the right key is given.
    void CheckKey(OldRecords records, Cipher? cipher, bool isPlain)
    {
        if (isPlain || records.Sealed > records.Unopened)
            return;
        var check = records.MetaValues.GetValueOrDefault("key_check") as string
            ?? (records.Unopened > records.Plain + MaxStraySealed ? "?" : null);
        if (check is not null && DatabaseFile.FindKeyFault(files.Database, options.Key, cipher, check) is { } fault)
            throw new BufferUnavailableException(fault + " (the file is also damaged)");
    }

    // An interruption before the first rename restarts the replacement; after it, FinishInterrupted continues here.
    void PutInPlace(string name)
    {
        var kept = files.In(name);
        if (File.Exists(files.Database))
            files.Rename(files.Database, kept);
        files.SyncDirectory();
        if (File.Exists(files.Wal))
            files.Rename(files.Wal, kept + "-wal");
        files.Delete(files.SharedMemory);
        // Synced before the new file gets its name: an old WAL beside it would be replayed into it.
        files.SyncDirectory();
        files.Rename(files.Salvage, files.Database);
        files.SyncDirectory();
    }

    void DeleteLeftover()
    {
        foreach (var end in (string[])["", "-journal", "-wal", "-shm"])
            files.Delete(files.Salvage + end);
    }

    string NameFor(bool isWhole)
    {
        var begin = isWhole ? Previous : Damaged;
        return $"{begin}{Numbers(begin).DefaultIfEmpty().Max() + 1}.db";
    }

    IEnumerable<int> Numbers(string begin) => System.IO.Directory.GetFiles(files.Directory, begin + "*.db")
        .Select(path => int.TryParse(Path.GetFileName(path)[begin.Length..^3], out var number) ? number : 0)
        .Where(number => number > 0);
}
