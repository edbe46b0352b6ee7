using System.Buffers.Binary;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging;
using SensorForwarder.Files;
using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>The open database and its file handles. Owned by the writer.</summary>
internal sealed record OpenedStore(Store Store, OpenFiles Files) : IDisposable
{
    public void Dispose()
    {
        Store.Dispose();
        Files.Dispose();
    }
}

/// <summary>
/// Opens the database, whatever its state: new, intact, left by a crash, damaged, foreign, of format 1, or in the
/// middle of a salvage. Never deletes a readable reading, and never fails twice because of the same damage. Keeps the
/// list of old files whose readings are still to be copied. Used by the writer's thread, except where "Any thread" is
/// stated.
/// </summary>
internal sealed class DatabaseFile(
    VolumeFiles files, BufferOptions options, TimeProvider timeProvider, ILogger logger)
{
    /// <summary>Up to this size a file is checked before it is used; a larger one in the background.</summary>
    public const long CheckedAtOnceBytes = 16L << 20;

    const int ApplicationIdOffset = 68;
    const int CorruptFileSystem = raw.SQLITE_IOERR | (33 << 8); // SQLITE_IOERR_CORRUPTFS
    const int Format1 = 1;
    const int MaxFormatVersion = 1_000; // a higher user_version is damage, not a newer format

    // After this many failed reads, each within BadReadsWithin of the one before, a block counts as lost.
    const int MaxBadReads = 8;
    static readonly TimeSpan BadReadsWithin = TimeSpan.FromMinutes(10);

    readonly FreshStart _freshStart = new(files, options, timeProvider);
    readonly Lock _gate = new(); // guards _sources, _salvage, _badReads, _badReadAt
    readonly List<RecoverySource> _sources = [];
    SalvageReport? _salvage;
    int _badReads;
    long _badReadAt;
    bool _isBeginReadable; // the last attempt to open could read the schema
    volatile int _generation;

    public VolumeFiles Files => files;

    /// <summary>Counts the files opened, to recognise reports about an earlier one. Any thread.</summary>
    public int Generation => _generation;

    /// <summary>The cache of decoded segments. Any thread.</summary>
    public DecodedSegments Decoded { get; } = new();

    /// <summary>The running or last salvage into the open file; null when there was none. Any thread.</summary>
    public SalvageReport? Salvage
    {
        get
        {
            lock (_gate)
            {
                var running = _sources.Find(source => !source.Progress.IsWhole)?.Progress.ToReport(isComplete: false);
                return (running ?? _salvage) is { } report ? report with { KeptAs = files.In(report.KeptAs) } : null;
            }
        }
    }

    /// <summary>Whether readings of an old file are still to be copied. Any thread.</summary>
    public bool IsRecovering => NextToRecover() is not null;

    /// <summary>Whether the file was not closed cleanly and was too large to be checked when it was opened.</summary>
    public bool NeedsCheck { get; private set; }

    /// <summary>Opens the database; sets a damaged or outdated file aside first and creates a new one.</summary>
    /// <param name="damage">Damage that the caller found in the file; null when none.</param>
    /// <param name="minLastId">The highest id assigned by this process.</param>
    /// <exception cref="BufferUnavailableException">The file must not be touched: newer format, wrong key.</exception>
    /// <exception cref="SqliteException">The volume can't be used now.</exception>
    public OpenedStore Open(string? damage, long minLastId)
    {
        files.CreateDirectory();
        if (_freshStart.FinishInterrupted())
            BufferLog.SalvageFinished(logger, files.Database);
        damage ??= FindDamageBeforeOpening();
        if (damage is null)
        {
            try
            {
                return OpenChecked(minLastId);
            }
            // An unreadable block counts as damage if the file's beginning is readable: waiting would not help.
            catch (SqliteException failure) when (failure.IsDamage() || IsBrokenSchema(failure)
                || (_isBeginReadable && IsBadBlock(failure)))
            {
                damage = failure.Message;
            }
            catch (MustBeRewrittenException old)
            {
                Replace(old.Message, isWhole: true, old.IsPlain, Math.Max(minLastId, old.LastId));
                return OpenChecked(minLastId);
            }
        }
        Replace(damage, isWhole: false, isPlain: false, minLastId);
        return OpenChecked(minLastId);
    }

    /// <summary>Keeps deleted or renamed files open through their descriptors, so that they can be copied.</summary>
    public void KeepLost(OpenedStore lost, string what)
    {
        var state = lost.Store.View.State;
        // Closing must not checkpoint into, or delete, the files that have these paths now.
        _ = raw.sqlite3_db_config(lost.Store.Connection.Handle, raw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, out _);
        if (FileStatus.Of(files.Database) is { } now && lost.Files.IsDatabase(now))
        {
            // Only the WAL was lost: checkpoint it into the database before the database is opened again.
            if (!lost.Store.Connection.Checkpoint(raw.SQLITE_CHECKPOINT_FULL, out _))
                throw new SqliteException("a reader keeps the WAL in use", raw.SQLITE_BUSY, raw.SQLITE_BUSY);
            return;
        }
        if (lost.Files.Reopen() is not { } open)
            return;
        var progress = new SalvageProgress(
            timeProvider.GetUtcNow(), what, "", IsWhole: false, IsPlain: false, state.LastId,
            Expected: state.Waiting + state.HandedOver.Count, NextPage: 1, 0, 0, 0, 0, state.Delivered);
        lock (_gate)
            _sources.Add(new(progress, files, open));
    }

    /// <summary>The next old file to copy; null when there is none. Any thread.</summary>
    public RecoverySource? NextToRecover()
    {
        lock (_gate)
            return _sources.FirstOrDefault();
    }

    /// <summary>Records that a part of an old file was copied. Any thread.</summary>
    /// <param name="left">The unfinished salvages recorded in the open file.</param>
    public void Recovered(RecoverySource source, SalvageProgress progress, IReadOnlyList<SalvageProgress> left)
    {
        lock (_gate)
        {
            source.Progress = progress;
            var isDone = source.IsOpen
                ? progress.NextPage > source.Pages
                : !left.Any(other => other.File == progress.File);
            if (isDone && !progress.IsWhole)
                _salvage = progress.ToReport(isComplete: true);
            if (isDone)
                _sources.Remove(source);
            Note(left);
        }
    }

    /// <summary>Deletes an old file that was copied completely, unless it was damaged. Any thread.</summary>
    public void DeleteRecovered(RecoverySource source)
    {
        if (!source.Progress.IsWhole)
            return;
        files.Delete(files.In(source.Progress.File));
        files.Delete(files.In(source.Progress.File) + "-wal");
    }

    /// <summary>Counts a failed read. True when reads failed so often that the block counts as lost: the file must be
    /// salvaged without it. Any thread.</summary>
    public bool IsLastingBadBlock(SqliteException failure)
    {
        if (!IsBadBlock(failure))
            return false;
        lock (_gate)
        {
            var now = timeProvider.GetTimestamp();
            if (timeProvider.GetElapsedTime(_badReadAt, now) > BadReadsWithin)
                _badReads = 0;
            _badReadAt = now;
            return ++_badReads >= MaxBadReads;
        }
    }

    /// <summary>A cipher, one per thread; null without a key.</summary>
    public Cipher? NewCipher() => Cipher.For(options.Key);

    public static bool IsEncrypted(VolumeFiles files)
    {
        if (VolumeFiles.Length(files.Database) == 0)
            return false;
        try
        {
            using var connection = Sqlite.Open(files.Database, SqliteOpenMode.ReadOnly, vfs: null);
            return new Meta(connection, null).KeyCheck is not null;
        }
        catch (SqliteException)
        {
            // Damaged: opening the buffer decides what to do.
            return false;
        }
    }

    /// <summary>Explains why an encrypted file can't be used with this key; null when it can.</summary>
    public static string? FindKeyFault(string path, BufferKey? key, Cipher? cipher, string check) => cipher is null
        ? $"{path}: is encrypted and no key is given; set Buffer__KeyFile or Buffer__Encryption as before, or move the "
            + "file away"
        : cipher.Fits(check)
            ? null
            : WrongKey(path, key);

    public SqliteConnection OpenReader()
    {
        var connection = Sqlite.Open(files.Database, SqliteOpenMode.ReadOnly, options.Vfs);
        try
        {
            Schema.ConfigureReader(connection);
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Checks the whole file for damage; takes minutes for a large file. Any thread.</summary>
    /// <returns>The first fault; null when there is none.</returns>
    public string? Check(CancellationToken cancellationToken)
    {
        try
        {
            return FindFault(cancellationToken);
        }
        catch (SqliteException interrupted) when (cancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException("the check was cancelled", interrupted, cancellationToken);
        }
        catch (SqliteException failure) when (failure.IsDamage())
        {
            return failure.Message;
        }
    }

    string? FindFault(CancellationToken cancellationToken)
    {
        using var connection = OpenReader();
        using var registration = cancellationToken.Register(() => raw.sqlite3_interrupt(connection.Handle));
        if (QuickCheck(connection) is { } fault)
            return fault;
        using var cipher = NewCipher();
        using var segments = new Segments(connection, cipher);
        var after = 0L;
        while (segments.Find(after + 1, Store.MaxId, 1) is [var segment])
        {
            cancellationToken.ThrowIfCancellationRequested();
            try
            {
                segments.Read(segment);
            }
            catch (DamagedSegmentException damaged)
            {
                return damaged.Message;
            }
            after = Math.Max(after + 1, segment.LastId);
        }
        return null;
    }

    void Replace(string reason, bool isWhole, bool isPlain, long minLastId)
    {
        try
        {
            var begun = _freshStart.SetAside(reason, isWhole, isPlain, minLastId);
            lock (_gate)
                _badReads = 0;
            if (isWhole)
                BufferLog.TakingOver(logger, files.Database, reason);
            else
                BufferLog.SetAside(logger, files.Database, reason, files.In(begun.File));
        }
        catch (Exception e) when (e is not BufferUnavailableException)
        {
            BufferLog.SalvageFailed(logger, files.Database, reason, e.Message);
            if (e is SqliteException or IOException or UnauthorizedAccessException)
                throw;
            // A bug: waiting, with the reason on the page, is better than a crash loop.
            throw new BufferUnavailableException(
                $"{files.Database}: can neither be used ({reason}) nor set aside ({e.Message}); move the file away", e);
        }
    }

    // Finds damage that would make SQLite discard data: it discards the WAL of an empty or foreign database, and the
    // rest of a WAL after an invalid frame.
    string? FindDamageBeforeOpening()
    {
        var walBytes = VolumeFiles.Length(files.Wal);
        var bytes = VolumeFiles.Length(files.Database);
        if (bytes == 0)
        {
            return walBytes > Schema.HeaderBytes + Schema.PageBytes
                ? "the database is empty, but its WAL is not"
                : null;
        }
        var header = new byte[Schema.HeaderBytes];
        using (var file = new FileStream(files.Database, FileMode.Open, FileAccess.Read, FileShare.ReadWrite))
            file.ReadAtLeast(header, header.Length, throwOnEndOfStream: false);
        if (!header.AsSpan().StartsWith("SQLite format 3\0"u8))
            return "not an SQLite database";
        var owner = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(ApplicationIdOffset));
        if (owner is not 0 and not Schema.ApplicationId)
            return "the database of another application";
        var pageBytes = BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(16));
        if (pageBytes is not Schema.PageBytes and not Schema.Format1PageBytes)
            return $"page size {pageBytes} instead of {Schema.PageBytes}";
        if (walBytes == 0)
            return null;
        using var log = new FileStream(files.Wal, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1 << 16);
        return WalFile.Read(log, pageBytes).HasDamage ? "the WAL is damaged before its end" : null;
    }

    OpenedStore OpenChecked(long minLastId)
    {
        var isUnclean = VolumeFiles.Length(files.Wal) > 0;
        var size = VolumeFiles.Length(files.Database);
        if (size == 0)
            files.CreatePrivate(files.Database);
        var connection = Sqlite.Open(files.Database, SqliteOpenMode.ReadWriteCreate, options.Vfs);
        Store? store = null;
        OpenFiles? openFiles = null;
        _isBeginReadable = false;
        try
        {
            Schema.ConfigureWriter(connection);
            CreateOrVerify(connection);
            _isBeginReadable = true;
            if (size <= CheckedAtOnceBytes && QuickCheck(connection) is { } fault)
                throw Sqlite.Damage(fault);
            NeedsCheck = isUnclean && size > CheckedAtOnceBytes;
            var epoch = Guid.CreateVersion7(timeProvider.GetUtcNow()).ToString();
            VerifyKey(connection);
            store = new Store(connection, NewCipher(), epoch, Decoded, minLastId);
            _generation++;
            Decoded.Forget(0, Store.MaxId);
            var salvaging = store.Meta.Salvaging.Select(SalvageProgress.Parse).OfType<SalvageProgress>().ToList();
            lock (_gate)
            {
                _sources.RemoveAll(source => !source.IsOpen);
                Note(salvaging);
                _salvage = SalvageReport.Parse(store.Meta.Salvaged);
            }
            _freshStart.DeleteOldEvidence([.. salvaging.Select(progress => progress.File)]);
            // Sync the WAL as found, so that a power cut can affect only transactions written from now on.
            openFiles = new OpenFiles(files);
            if (VolumeFiles.Length(files.Wal) > 0)
                openFiles.Sync();
            return new(store, openFiles);
        }
        catch
        {
            openFiles?.Dispose();
            if (store is not null)
                store.Dispose();
            else
                connection.Dispose();
            throw;
        }
    }

    void Note(IReadOnlyList<SalvageProgress> salvaging)
    {
        foreach (var progress in salvaging)
        {
            if (!_sources.Exists(source => !source.IsOpen && source.Progress.File == progress.File))
                _sources.Add(new(progress, files));
        }
    }

    void CreateOrVerify(SqliteConnection connection)
    {
        var owner = connection.Number("PRAGMA application_id");
        if (connection.Number("SELECT count(*) FROM sqlite_schema") == 0)
        {
            Schema.Create(connection, timeProvider.GetUtcNow());
            files.SyncDirectory();
            return;
        }
        var version = connection.Number("PRAGMA user_version");
        // A newer format has other tables. With the tables of this format, the number itself is damaged.
        if (owner == Schema.ApplicationId && version is > Schema.FormatVersion and <= MaxFormatVersion
            && !Schema.IsIntact(connection))
        {
            throw new BufferUnavailableException(
                $"{files.Database}: has format {version}, written by a newer version of the module; this version reads "
                + $"format {Schema.FormatVersion}. Start the newer version, or move the file away");
        }
        if (owner == Schema.ApplicationId && version == Format1)
            throw FromFormat1(connection);
        if (owner != Schema.ApplicationId || version != Schema.FormatVersion || !Schema.IsIntact(connection))
            throw new SqliteException("not a database of this module", raw.SQLITE_NOTADB, raw.SQLITE_NOTADB);
    }

    // Any failure here means that the file is damaged.
    MustBeRewrittenException FromFormat1(SqliteConnection connection)
    {
        if (QuickCheck(connection) is { } fault)
            throw Sqlite.Damage(fault);
        var check = connection.Text("SELECT value FROM meta WHERE name = 'key_check'");
        using var cipher = NewCipher();
        if (check is not null && FindKeyFault(files.Database, options.Key, cipher, check) is { } wrong)
            throw new BufferUnavailableException(wrong);
        var lastId = connection.Number("""
            SELECT max(coalesce((SELECT max(id) FROM queue), 0), coalesce((SELECT max(id) FROM dead_letter), 0),
                coalesce((SELECT max(value) FROM meta WHERE name IN ('last_id', 'acknowledged_through')
                    AND typeof(value) = 'integer'), 0))
            """) ?? 0;
        return new("it is of format 1", lastId, isPlain: cipher is not null && check is null);
    }

    // Checks that the key fits the file. In an encrypted file everything is sealed.
    void VerifyKey(SqliteConnection connection)
    {
        using var cipher = NewCipher();
        var meta = new Meta(connection, cipher);
        var check = meta.KeyCheck;
        if (check is null && cipher is null)
            return;
        using var segments = new Segments(connection, cipher);
        var some = segments.Find(1, Store.MaxId, 100);
        var opens = some.Exists(segment => Opens(segments, segment));
        if (check is not null && (cipher is null || (!cipher.Fits(check) && !opens)))
            throw new BufferUnavailableException(FindKeyFault(files.Database, options.Key, cipher, check)!);
        if (check is not null && cipher!.Fits(check))
            return;
        if (check is null && some.Count > 0 && !opens)
        {
            using var plain = new Segments(connection, null);
            // Neither plain nor sealed with this key: key_check was lost.
            if (!some.Exists(segment => Opens(plain, segment)))
                throw new BufferUnavailableException(WrongKey(files.Database, options.Key));
            throw ToBeEncrypted(connection);
        }
        if (check is null && IsUsed(connection))
            throw ToBeEncrypted(connection);
        // A new file, or key_check is damaged although the key opens the segments.
        meta.KeyCheck = cipher!.MakeCheck();
    }

    static string WrongKey(string path, BufferKey? key) =>
        $"{path}: {key} is not the key it was encrypted with; restore that key, or move the database away";

    static bool IsUsed(SqliteConnection connection) => new Meta(connection, null).State is not null
        || connection.Number("SELECT (SELECT count(*) FROM document) + (SELECT count(*) FROM dead_letter)") > 0;

    static MustBeRewrittenException ToBeEncrypted(SqliteConnection connection)
    {
        using var plain = new Segments(connection, null);
        var lastId = Math.Max(new Meta(connection, null).State?.LastId ?? 0, Math.Max(
            plain.Newest()?.LastId ?? 0, new Records(connection, null).LastDeadLetterId()));
        return new("it is not encrypted, but a key is configured", lastId, isPlain: true);
    }

    static bool Opens(Segments segments, Segment segment)
    {
        try
        {
            return segments.Read(segment).Length > 0;
        }
        catch (DamagedSegmentException)
        {
            return false;
        }
    }

    static string? QuickCheck(SqliteConnection connection)
    {
        var answer = connection.Text("PRAGMA quick_check(1)");
        return answer is null or "ok" ? null : answer.ReplaceLineEndings(" ");
    }

    // A statement does not compile or a column has another type: the schema is damaged.
    static bool IsBrokenSchema(SqliteException failure) =>
        failure.SqliteErrorCode is raw.SQLITE_ERROR or raw.SQLITE_MISMATCH or raw.SQLITE_CONSTRAINT or raw.SQLITE_SCHEMA
            or raw.SQLITE_RANGE or raw.SQLITE_TOOBIG;

    static bool IsBadBlock(SqliteException failure) =>
        failure.SqliteExtendedErrorCode is raw.SQLITE_IOERR_READ or CorruptFileSystem;

    /// <summary>The file is intact but must be copied to a new one: format 1, or not encrypted.</summary>
    sealed class MustBeRewrittenException(string message, long lastId, bool isPlain) : Exception(message)
    {
        public long LastId => lastId;

        public bool IsPlain => isPlain;
    }
}
