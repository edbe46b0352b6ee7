using System.Text;
using System.Text.Json;
using SQLitePCL;

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

    readonly Dictionary<string, object?> _meta = [];
    long _readings;
    long _sealed;

    /// <param name="reason">What is wrong, for the report.</param>
    /// <param name="minLastId">The highest id that was given out; ids go on behind it.</param>
    public SalvageReport Run(string reason, long minLastId)
    {
        DeleteLeftover();
        files.CreatePrivate(files.Salvage);
        var keptAs = Path.Combine(files.Directory, $"telemetry.damaged-{NextKept()}.db");
        SalvageReport report;
        using (var connection = SqliteConnection.Open(files.Salvage, create: true, readOnly: false, options.Vfs))
        {
            // Nothing needs to be kept of an interrupted salvage, so no journal; one sync at the end makes it durable.
            connection.Execute($"PRAGMA page_size={BufferSchema.PageBytes}; PRAGMA auto_vacuum=INCREMENTAL; "
                + "PRAGMA journal_mode=OFF; PRAGMA synchronous=FULL; PRAGMA cache_size=-8192;");
            var now = timeProvider.GetUtcNow();
            BufferSchema.Create(connection, Guid.CreateVersion7(now).ToString(), now.ToUnixTimeMilliseconds());
            connection.Execute("BEGIN IMMEDIATE");
            CopyRecords(connection);
            // A few that look sealed are rubble; a file of them waits for its key, as it is.
            if (cipher is null && (_meta.ContainsKey("key_check") || _sealed > _readings))
            {
                throw new BufferUnavailableException(
                    $"{files.Database}: is damaged and encrypted, and no key is given; set Buffer__KeyFile");
            }
            report = Conclude(connection, reason, minLastId, keptAs);
            connection.Execute("COMMIT");
        }
        files.SyncDirectory();
        PutInPlace(keptAs);
        DeleteOldEvidence();
        return report;
    }

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
        PutInPlace(Path.Combine(files.Directory, $"telemetry.damaged-{NextKept() - 1}.db"));
        return true;
    }

    void CopyRecords(SqliteConnection connection)
    {
        using var database = OpenDamaged(files.Database);
        using var log = OpenDamaged(files.Wal);
        var scanner = new PageScanner(database, log.Length > 0 ? WalFile.Read(log) : null);
        using var queue = connection.PrepareOnce(
            "INSERT OR IGNORE INTO queue(id, recorded_at, clock, payload) VALUES(?1, ?2, ?3, ?4)");
        using var letter = connection.PrepareOnce("""
            INSERT OR IGNORE INTO dead_letter(id, recorded_at, clock, payload, refused_at, reason, answer)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)
            """);
        using var clock = connection.PrepareOnce(
            "INSERT OR IGNORE INTO clock(id, boot_id, offset_ms, synchronized) VALUES(?1, ?2, ?3, ?4)");
        using var document = connection.PrepareOnce(
            "INSERT OR IGNORE INTO document(name, content) VALUES(?1, ?2)");
        using var evicted = connection.PrepareOnce("""
            INSERT OR IGNORE INTO evicted(reason, sensor, total, announced, first_id, last_id)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6)
            """);
        foreach (var (id, columns) in scanner.Scan())
        {
            switch (columns)
            {
                case [null, long at, long segment, string or byte[]] when id > 0 && IsPayload(id, columns[3]):
                    BindAll(queue, id, at, segment, columns[3]).Run();
                    _readings += connection.Changes();
                    break;
                case [null, long, long, string or byte[], long, string, string or byte[] or null]
                    when id > 0 && IsPayload(id, columns[3]):
                    BindAll(letter, [id, .. columns[1..]]).Run();
                    _readings += connection.Changes();
                    break;
                case [null, string, long, long] when id is > 0 and <= int.MaxValue:
                    BindAll(clock, [id, .. columns[1..]]).Run();
                    break;
                case [string name, byte[] content]:
                    BindAll(document, name, content).Run();
                    break;
                case [string name, string or long]:
                    _meta[name] = columns[1];
                    break;
                case [string, string, long, long, long or null, long or null]:
                    BindAll(evicted, columns).Run();
                    break;
                default:
                    // A schema row, or rubble.
                    break;
            }
        }
    }

    SalvageReport Conclude(SqliteConnection connection, string reason, long minLastId, string keptAs)
    {
        // What was delivered is not sent again, if it is certain.
        if (_meta.GetValueOrDefault(QueueStore.AcknowledgedName) is long acknowledged
            && _meta.GetValueOrDefault(QueueStore.AcknowledgedCheckName) is long check && acknowledged == ~check)
        {
            using var delete = connection.PrepareOnce("DELETE FROM queue WHERE id <= ?1");
            delete.Bind(1, acknowledged).Run();
            _readings -= connection.Changes();
        }
        // Where the clock of a reading is lost, its number must not go to a new one.
        connection.Execute("""
            INSERT OR IGNORE INTO clock(id, boot_id, offset_ms, synchronized)
            SELECT DISTINCT clock, '?', 0, 0 FROM queue WHERE clock BETWEEN 1 AND 1000000
            """);
        var first = connection.QueryNumber("SELECT min(id) FROM queue");
        var last = connection.QueryNumber("SELECT max(id) FROM queue");
        var depth = connection.QueryNumber("SELECT count(*) FROM queue") ?? 0;
        var noted = _meta.GetValueOrDefault("last_id") as long? ?? 0;
        var lastId = Math.Max(Math.Max(minLastId, noted), Math.Max(last ?? 0,
            connection.QueryNumber("SELECT max(id) FROM dead_letter") ?? 0));
        var missing = 0L;
        using var meta = connection.PrepareOnce("INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)");
        if (first is not null)
        {
            BindAll(meta, "holes", lastId - first.Value + 1 - depth).Run();
            var known = _meta.GetValueOrDefault("holes") as long? ?? 0;
            missing = Math.Max(0, last!.Value - first.Value + 1 - depth - known);
        }
        BindAll(meta, "last_id", lastId).Run();
        if (_meta.GetValueOrDefault("thinned") is string thinned)
            BindAll(meta, "thinned", thinned).Run();
        if (_meta.GetValueOrDefault("key_check") is string keyCheck)
            BindAll(meta, "key_check", keyCheck).Run();
        if (missing > 0)
        {
            using var gap = connection.PrepareOnce("""
                INSERT OR REPLACE INTO evicted(reason, sensor, total, announced, first_id, last_id)
                VALUES(?1, '?', ?2, 0, ?3, ?4)
                """);
            BindAll(gap, EvictionLedger.Damaged, missing, first, last).Run();
        }
        var report = new SalvageReport(timeProvider.GetUtcNow(), reason, _readings, missing, keptAs);
        BindAll(meta, "salvage", string.Join('\n', report.At.ToUnixTimeMilliseconds(), reason, _readings, missing, keptAs))
            .Run();
        return report;
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

    void DeleteOldEvidence()
    {
        foreach (var number in Kept().OrderDescending().Skip(MaxKept))
        {
            var path = Path.Combine(files.Directory, $"telemetry.damaged-{number}.db");
            files.Delete(path);
            files.Delete(path + "-wal");
        }
    }

    int NextKept() => Kept().DefaultIfEmpty().Max() + 1;

    IEnumerable<int> Kept() => System.IO.Directory.GetFiles(files.Directory, KeptPattern)
        .Select(path => int.TryParse(Path.GetFileName(path)["telemetry.damaged-".Length..^3], out var n) ? n : 0)
        .Where(n => n > 0);

    static Stream OpenDamaged(string path) => File.Exists(path)
        ? new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1 << 16)
        : new MemoryStream();

    // Text is whole JSON or it was hit; what is encrypted proves itself.
    bool IsPayload(long id, object? payload)
    {
        var stored = payload as byte[] ?? Encoding.UTF8.GetBytes((string)payload!);
        if (PayloadCipher.IsSealed(stored, isBlob: payload is byte[]))
        {
            _sealed++;
            return cipher?.Unseal(id, stored) is not null;
        }
        var json = new Utf8JsonReader(stored);
        try
        {
            var isObject = json.Read() && json.TokenType == JsonTokenType.StartObject;
            while (json.Read())
            {
                // To the end: the reader checks as it goes.
            }
            return isObject;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    static SqliteStatement BindAll(SqliteStatement statement, params object?[] values)
    {
        for (var i = 0; i < values.Length; i++)
        {
            _ = values[i] switch
            {
                long number => statement.Bind(i + 1, number),
                byte[] bytes => statement.BindBlob(i + 1, bytes),
                var text => statement.Bind(i + 1, text as string),
            };
        }
        return statement;
    }
}
