using System.Buffers.Binary;
using Microsoft.Extensions.Logging;
using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>
/// Opens the database whatever state it is in: new, whole, left behind by a crash, damaged, foreign, or in the middle
/// of a salvage. Never deletes a readable row, never fails for the same damage twice. Owned by the writer.
/// </summary>
internal sealed class DatabaseFile(
    VolumeFiles files, BufferOptions options, TimeProvider timeProvider, ILogger logger)
{
    /// <summary>Up to this size a file is checked in full before it is used; a larger one beside the work.</summary>
    public const long CheckedAtOnceBytes = 16L << 20;

    const int ApplicationIdOffset = 68;
    const int HeaderBytes = 100;
    public const string KeyCheckQuery = "SELECT value FROM meta WHERE name = 'key_check'";

    public VolumeFiles Files => files;

    /// <summary>What was salvaged into the file that is open; null when nothing was.</summary>
    public SalvageReport? Salvage { get; set; }

    /// <summary>A salvage into the file that is open which is not done; null when there is none.</summary>
    public SalvageProgress? Pending { get; set; }

    /// <summary>Whether the file was not closed properly, and is too large to have been checked.</summary>
    public bool NeedsCheck { get; private set; }

    /// <param name="damage">What the caller knows to be wrong with the file; null when nothing.</param>
    /// <param name="minLastId">The highest id that was given out in this process.</param>
    /// <exception cref="BufferUnavailableException">The file is not to be touched: a newer format.</exception>
    /// <exception cref="SqliteFailure">The volume can't be used now.</exception>
    public QueueStore Open(string? damage, long minLastId)
    {
        files.CreateDirectory();
        using var cipher = NewCipher();
        var salvage = new BufferSalvage(files, options, timeProvider, cipher);
        if (salvage.FinishInterrupted())
            Log.SalvageFinished(logger, files.Database);
        damage ??= FindDamageBeforeOpening();
        if (damage is null)
        {
            try
            {
                salvage.DeleteOldEvidence();
                return OpenChecked();
            }
            catch (SqliteFailure failure) when (failure.IsDamage || IsBrokenSchema(failure))
            {
                damage = failure.Message;
            }
        }
        Replace(salvage, damage, minLastId);
        salvage.DeleteOldEvidence();
        return OpenChecked();
    }

    void Replace(BufferSalvage salvage, string damage, long minLastId)
    {
        try
        {
            if (VolumeFiles.Length(files.Database) + VolumeFiles.Length(files.Wal) > options.SalvagedAtOnceBytes)
            {
                var begun = salvage.SetAside(damage, minLastId);
                Log.SetAside(logger, files.Database, begun.Reason, begun.KeptAs);
            }
            else
            {
                var report = salvage.Run(damage, minLastId);
                Log.Salvaged(logger, files.Database, report.Reason, report.Readings, report.Missing, report.KeptAs);
                if (salvage.Faults > 0)
                    Log.SalvageSkipped(logger, report.KeptAs, salvage.Faults);
            }
        }
        catch (Exception e) when (e is not BufferUnavailableException)
        {
            Log.SalvageFailed(logger, files.Database, damage, e.Message);
            if (e is SqliteFailure or IOException or UnauthorizedAccessException)
                throw;
            // A fault of the program: waiting with a reason on the page is better than ending again and again.
            throw new BufferUnavailableException(
                $"{files.Database}: is damaged ({damage}) and can't be salvaged ({e.Message}); move the file away", e);
        }
    }

    /// <summary>One a thread; null without a key.</summary>
    public PayloadCipher? NewCipher() =>
        options.Key is { } key ? new PayloadCipher(key.Bytes.Span) : null;

    public static bool IsEncrypted(VolumeFiles files)
    {
        if (VolumeFiles.Length(files.Database) == 0)
            return false;
        try
        {
            using var connection = SqliteConnection.Open(files.Database, create: false, readOnly: true, vfs: null);
            return connection.QueryText(KeyCheckQuery) is not null;
        }
        catch (SqliteFailure)
        {
            // Damaged: opening it looks closer.
            return false;
        }
    }

    /// <summary>Why an encrypted file can't be used with this key; null when it can.</summary>
    public static string? FaultOfKey(string path, BufferKey? key, PayloadCipher? cipher, string check) => cipher is null
        ? $"{path}: is encrypted and no key is given; set Buffer__KeyFile or Buffer__Encryption as it was, or move the "
            + "file away"
        : cipher.Fits(check)
            ? null
            : $"{path}: {key} is not the key that it was made with; put the right one there, or move the file away";

    public SqliteConnection OpenReader()
    {
        var connection = SqliteConnection.Open(files.Database, create: false, readOnly: true, options.Vfs);
        try
        {
            BufferSchema.ConfigureReader(connection);
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Reads the whole file in search of damage; minutes for a big one. Any thread.</summary>
    /// <returns>The first fault; null when there is none.</returns>
    public string? Check(CancellationToken cancellationToken)
    {
        using var connection = OpenReader();
        using var registration = cancellationToken.Register(() => raw.sqlite3_interrupt(connection.Handle));
        return QuickCheck(connection);
    }

    // Damage that SQLite would answer by throwing something away: an empty database or one of somebody else makes it
    // forget the log, and a hole in the log makes it forget what stands behind.
    string? FindDamageBeforeOpening()
    {
        var walBytes = VolumeFiles.Length(files.Wal);
        var bytes = VolumeFiles.Length(files.Database);
        if (bytes == 0)
            return walBytes > HeaderBytes + BufferSchema.PageBytes ? "the database is empty, its log is not" : null;
        var header = new byte[HeaderBytes];
        using (var file = new FileStream(files.Database, FileMode.Open, FileAccess.Read, FileShare.ReadWrite))
            file.ReadAtLeast(header, HeaderBytes, throwOnEndOfStream: false);
        if (!header.AsSpan().StartsWith("SQLite format 3\0"u8))
            return "not an SQLite database";
        var owner = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(ApplicationIdOffset));
        if (owner is not 0 and not BufferSchema.ApplicationId)
            return "the database of another application";
        if (BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(16)) != BufferSchema.PageBytes)
            return "another page size";
        if (walBytes == 0)
            return null;
        using var log = new FileStream(files.Wal, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1 << 16);
        return WalFile.Read(log).HasDamage ? "the log is damaged before its end" : null;
    }

    QueueStore OpenChecked()
    {
        var isUnclean = VolumeFiles.Length(files.Wal) > 0;
        var size = VolumeFiles.Length(files.Database);
        if (size == 0)
            files.CreatePrivate(files.Database);
        var connection = SqliteConnection.Open(files.Database, create: true, readOnly: false, options.Vfs);
        try
        {
            BufferSchema.ConfigureWriter(connection, StorageBudget.Of(options.Limits).WalBytes);
            CreateOrVerify(connection);
            if (size <= CheckedAtOnceBytes && QuickCheck(connection) is { } fault)
                throw new SqliteFailure(raw.SQLITE_CORRUPT, raw.SQLITE_CORRUPT, fault);
            NeedsCheck = isUnclean && size > CheckedAtOnceBytes;
            VerifyKey(connection);
            var store = new QueueStore(connection, NewCipher());
            Pending = SalvageProgress.Parse(store.GetMeta(SalvageProgress.Name));
            Salvage = Pending?.ToReport(isComplete: false)
                ?? SalvageReport.Parse(store.GetMeta(SalvageReport.MetaName));
            return store;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    void CreateOrVerify(SqliteConnection connection)
    {
        var owner = connection.QueryNumber("PRAGMA application_id");
        if (connection.QueryNumber("SELECT count(*) FROM sqlite_schema") == 0)
        {
            var now = timeProvider.GetUtcNow();
            BufferSchema.Create(connection, Guid.CreateVersion7(now).ToString(), now.ToUnixTimeMilliseconds());
            files.SyncDirectory();
            return;
        }
        var version = connection.QueryNumber("PRAGMA user_version");
        if (owner == BufferSchema.ApplicationId && version > BufferSchema.FormatVersion)
        {
            throw new BufferUnavailableException(
                $"{files.Database}: format {version} was made by a newer version, this one knows "
                + $"{BufferSchema.FormatVersion}; start the newer version, or move the file away");
        }
        if (owner != BufferSchema.ApplicationId || version != BufferSchema.FormatVersion
            || !BufferSchema.IsIntact(connection)
            || connection.QueryText("SELECT value FROM meta WHERE name = 'epoch'") is null)
        {
            throw new SqliteFailure(raw.SQLITE_NOTADB, raw.SQLITE_NOTADB, "not a buffer's database");
        }
    }

    void VerifyKey(SqliteConnection connection)
    {
        var check = connection.QueryText(KeyCheckQuery);
        using var cipher = NewCipher();
        if (check is not null)
        {
            // Beside rows that the key opens it is the check itself that was hit.
            if (cipher is not null && !cipher.Fits(check) && OpensAny(connection, cipher))
                throw new SqliteFailure(raw.SQLITE_CORRUPT, raw.SQLITE_CORRUPT, "the check of the key is damaged");
            if (FaultOfKey(files.Database, options.Key, cipher, check) is { } fault)
                throw new BufferUnavailableException(fault);
        }
        else if (cipher is not null)
        {
            using var save = connection.PrepareOnce("INSERT INTO meta(name, value) VALUES('key_check', ?1)");
            save.Bind(1, cipher.MakeCheck()).Run();
        }
    }

    static bool OpensAny(SqliteConnection connection, PayloadCipher cipher)
    {
        using var query = connection.PrepareOnce("SELECT id, payload FROM queue WHERE id > 0 LIMIT 100");
        while (query.Step())
        {
            if (cipher.Unseal(query.Number(0), query.Bytes(1)) is not null)
                return true;
        }
        return false;
    }

    static string? QuickCheck(SqliteConnection connection)
    {
        var answer = connection.QueryText("PRAGMA quick_check(1)");
        return answer is null or "ok" ? null : answer.ReplaceLineEndings(" ");
    }

    // A statement that does not compile, or whose column has another type: the schema is not ours any more.
    static bool IsBrokenSchema(SqliteFailure failure) =>
        failure.Code is raw.SQLITE_ERROR or raw.SQLITE_MISMATCH or raw.SQLITE_CONSTRAINT or raw.SQLITE_SCHEMA
            or raw.SQLITE_RANGE or raw.SQLITE_TOOBIG;
}
