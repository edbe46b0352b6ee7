namespace SensorForwarder.Buffer;

/// <summary>
/// Makes a new database out of what a damaged one still says, beside it, and then puts it in its place. The damaged
/// file is only read. Readings keep their ids, so that what is on its way to a receiver stays the same reading; the
/// epoch is new, so that nothing that can't be read any more is taken for something else.
/// </summary>
internal sealed class BufferSalvage(
    VolumeFiles files, BufferOptions options, TimeProvider timeProvider, PayloadCipher? cipher)
{
    /// <summary>Damaged files that are kept as evidence; older ones are deleted.</summary>
    public const int MaxKept = 3;

    const string KeptPattern = "telemetry.damaged-*.db";

    /// <summary>Records that the last salvage skipped because of a fault of the program.</summary>
    public int Faults { get; private set; }

    /// <summary>Takes over all that reads. Takes time in proportion to the file.</summary>
    /// <param name="reason">What is wrong, for the report.</param>
    /// <param name="minLastId">The highest id that was given out; ids go on behind it.</param>
    public SalvageReport Run(string reason, long minLastId) => Replace((connection, records, scanner, keptAs) =>
    {
        foreach (var record in scanner.Scan())
            records.Put(record);
        CheckKey(records);
        return Conclude(connection, records, reason, minLastId, keptAs);
    });

    /// <summary>Takes over what is needed to go on, in bounded time, and leaves the readings to
    /// <see cref="PendingSalvage"/>.</summary>
    /// <returns>Nothing salvaged as yet.</returns>
    public SalvageReport SetAside(string reason, long minLastId) => Replace((connection, records, scanner, keptAs) =>
    {
        foreach (var record in scanner.Sketch())
            records.Put(record, withReadings: false);
        CheckKey(records);
        var lastId = Math.Max(
            Math.Max(minLastId, Noted(records)), Math.Max(records.LastGivenId, records.AcknowledgedThrough()));
        // The next segment must not get a number that readings of the damaged file may name.
        connection.Execute(
            "INSERT OR IGNORE INTO clock(id, boot_id, offset_ms, synchronized) "
            + $"VALUES({Math.Max(1, records.LastClock)}, '?', 0, 0)");
        var report = new SalvageReport(timeProvider.GetUtcNow(), reason, 0, 0, keptAs) { IsComplete = false };
        KeepMeta(connection, records, lastId);
        SetMeta(connection, QueueStore.HiddenName, lastId);
        SetMeta(connection, SalvageProgress.Name, SalvageProgress.Begin(report, lastId, records).Text);
        if (records.Meta.GetValueOrDefault(SalvageProgress.Name) is string before)
            SetMeta(connection, SalvageProgress.BeforeName, before);
        return report;
    });

    /// <summary>Ends a salvage that was interrupted while it put the new file in place.</summary>
    /// <returns>Whether there was one; without it, a salvage that had only begun is deleted.</returns>
    public bool FinishInterrupted()
    {
        if (File.Exists(files.Database) || !File.Exists(files.Salvage))
        {
            DeleteLeftover();
            return false;
        }
        // The database is moved away only after the new file was synced.
        PutInPlace(files.Kept(NextKept() - 1));
        return true;
    }

    SalvageReport Replace(
        Func<SqliteConnection, SalvagedRecords, PageScanner, string, SalvageReport> fill)
    {
        DeleteLeftover();
        files.CreatePrivate(files.Salvage);
        var keptAs = files.Kept(NextKept());
        SalvageReport report;
        using (var connection = SqliteConnection.Open(files.Salvage, create: true, readOnly: false, options.Vfs))
        {
            // Nothing needs to be kept of an interrupted salvage, so no journal; one sync at the end makes it durable.
            connection.Execute($"PRAGMA page_size={BufferSchema.PageBytes}; PRAGMA auto_vacuum=INCREMENTAL; "
                + "PRAGMA journal_mode=OFF; PRAGMA synchronous=FULL; PRAGMA cache_size=-8192;");
            var now = timeProvider.GetUtcNow();
            BufferSchema.Create(connection, Guid.CreateVersion7(now).ToString(), now.ToUnixTimeMilliseconds());
            connection.Execute("BEGIN IMMEDIATE");
            using (var records = new SalvagedRecords(connection, cipher))
            using (var damaged = new DamagedFile(files.Database, files.Wal))
            {
                report = fill(connection, records, damaged.Scanner, keptAs);
                Faults = damaged.Scanner.Faults + records.Faults;
            }
            connection.Execute("COMMIT");
        }
        files.SyncDirectory();
        PutInPlace(keptAs);
        return report;
    }

    // A few that look sealed are rubble; a file of them waits for its key, as it is.
    void CheckKey(SalvagedRecords records)
    {
        if (records.Sealed > records.Unopened)
            return;
        var check = records.Meta.GetValueOrDefault("key_check") as string
            ?? (records.Unopened > records.Plain ? "?" : null);
        if (check is not null && DatabaseFile.FaultOfKey(files.Database, options.Key, cipher, check) is { } fault)
            throw new BufferUnavailableException(fault + " (it is damaged as well)");
    }

    SalvageReport Conclude(
        SqliteConnection connection, SalvagedRecords records, string reason, long minLastId, string keptAs)
    {
        // What was delivered is not sent again, if it is certain.
        var readings = records.Readings + records.DeadLetters;
        if (records.AcknowledgedThrough() is > 0 and var acknowledged)
        {
            connection.Execute($"DELETE FROM queue WHERE id <= {acknowledged}");
            readings -= connection.Changes();
        }
        // Where the clock of a reading is lost, its number must not go to a new one.
        connection.Execute("""
            INSERT OR IGNORE INTO clock(id, boot_id, offset_ms, synchronized)
            SELECT DISTINCT clock, '?', 0, 0 FROM queue WHERE clock BETWEEN 1 AND 1000000
            """);
        var first = connection.QueryNumber("SELECT min(id) FROM queue");
        var last = connection.QueryNumber("SELECT max(id) FROM queue");
        var depth = connection.QueryNumber("SELECT count(*) FROM queue") ?? 0;
        var lastId = Math.Max(Math.Max(minLastId, Noted(records)), Math.Max(last ?? 0,
            connection.QueryNumber("SELECT max(id) FROM dead_letter") ?? 0));
        KeepMeta(connection, records, lastId);
        var missing = 0L;
        if (first is not null)
        {
            SetMeta(connection, "holes", lastId - first.Value + 1 - depth);
            missing = Math.Max(0, last!.Value - first.Value + 1 - depth - Holes(records));
        }
        if (missing > 0)
        {
            using var gap = connection.PrepareOnce("""
                INSERT OR REPLACE INTO evicted(reason, sensor, total, announced, first_id, last_id)
                VALUES(?1, '?', ?2, 0, ?3, ?4)
                """);
            gap.Bind(1, EvictionLedger.Damaged).Bind(2, missing).Bind(3, first!.Value).Bind(4, last!.Value).Run();
        }
        // A salvage in pieces that was not done yet goes on.
        foreach (var name in (string[])[SalvageProgress.Name, SalvageProgress.BeforeName, QueueStore.HiddenName])
        {
            if (records.Meta.TryGetValue(name, out var value))
                SetMeta(connection, name, value!);
        }
        var report = new SalvageReport(timeProvider.GetUtcNow(), reason, readings, missing, keptAs);
        SetMeta(connection, SalvageReport.MetaName, report.Text);
        return report;
    }

    static long Noted(SalvagedRecords records) =>
        records.Meta.GetValueOrDefault("last_id") is long noted and > 0 and < SalvagedRecords.MaxId ? noted : 0;

    /// <summary>Ids between the first and the last that were known not to wait.</summary>
    public static long Holes(SalvagedRecords records) => records.Meta.GetValueOrDefault("holes") as long? ?? 0;

    void KeepMeta(SqliteConnection connection, SalvagedRecords records, long lastId)
    {
        SetMeta(connection, "last_id", lastId);
        if (records.Meta.GetValueOrDefault("thinned") is string thinned)
            SetMeta(connection, "thinned", thinned);
        if (cipher is not null)
            SetMeta(connection, "key_check", cipher.MakeCheck());
    }

    static void SetMeta(SqliteConnection connection, string name, object value)
    {
        using var meta = connection.PrepareOnce("INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)");
        _ = value is long number ? meta.Bind(1, name).Bind(2, number) : meta.Bind(1, name).Bind(2, (string)value);
        meta.Run();
    }

    // Each step leaves a directory that the next start understands: as long as the database is in its place, the
    // salvage is begun again; from then on, it is ended.
    void PutInPlace(string keptAs)
    {
        if (File.Exists(files.Database))
            files.Rename(files.Database, keptAs);
        files.SyncDirectory();
        if (File.Exists(files.Wal))
            files.Rename(files.Wal, keptAs + "-wal");
        files.Delete(files.SharedMemory);
        // A log that came back beside the new file would be replayed into it.
        files.SyncDirectory();
        files.Rename(files.Salvage, files.Database);
        files.SyncDirectory();
    }

    void DeleteLeftover()
    {
        files.Delete(files.Salvage);
        files.Delete(files.Salvage + "-journal");
        files.Delete(files.Salvage + "-wal");
        files.Delete(files.Salvage + "-shm");
    }

    /// <summary>Deletes all but the newest damaged files.</summary>
    public void DeleteOldEvidence()
    {
        foreach (var number in Kept().OrderDescending().Skip(MaxKept))
        {
            var path = files.Kept(number);
            files.Delete(path);
            files.Delete(path + "-wal");
        }
    }

    int NextKept() => Kept().DefaultIfEmpty().Max() + 1;

    IEnumerable<int> Kept() => System.IO.Directory.GetFiles(files.Directory, KeptPattern)
        .Select(path => int.TryParse(Path.GetFileName(path)["telemetry.damaged-".Length..^3], out var n) ? n : 0)
        .Where(n => n > 0);
}
