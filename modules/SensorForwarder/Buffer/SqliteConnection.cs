using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>An SQLite call that did not succeed.</summary>
/// <param name="code">The primary result code.</param>
/// <param name="extendedCode">The extended result code.</param>
internal sealed class SqliteFailure(int code, int extendedCode, string message)
    : Exception($"SQLite {extendedCode}: {message}")
{
    public int Code { get; } = code;

    public int ExtendedCode { get; } = extendedCode;

    public bool IsDamage => Code is raw.SQLITE_CORRUPT or raw.SQLITE_NOTADB;
}

/// <summary>A connection and its prepared statements, straight on SQLite's C interface: the ADO.NET layer costs more
/// for a row than SQLite does. One thread at a time.</summary>
internal sealed class SqliteConnection : IDisposable
{
    /// <summary>Below this version two connections on a WAL database can corrupt it (the WAL-reset bug).</summary>
    public const int MinVersionNumber = 3_051_003;

    readonly List<SqliteStatement> _statements = [];

    static SqliteConnection() => Batteries_V2.Init();

    SqliteConnection(sqlite3 handle) => Handle = handle;

    public sqlite3 Handle { get; }

    public static SqliteConnection Open(string path, bool create, bool readOnly, string? vfs)
    {
        var flags = readOnly ? raw.SQLITE_OPEN_READONLY : raw.SQLITE_OPEN_READWRITE;
        if (create)
            flags |= raw.SQLITE_OPEN_CREATE;
        // Each connection stays with one thread at a time, so SQLite needs no mutex of its own.
        flags |= raw.SQLITE_OPEN_NOMUTEX;
        var code = raw.sqlite3_open_v2(path, out var handle, flags, vfs);
        if (code == raw.SQLITE_OK)
        {
            raw.sqlite3_extended_result_codes(handle, 1);
            return new SqliteConnection(handle);
        }
        var message = raw.sqlite3_errstr(code).utf8_to_string();
        handle?.Dispose();
        throw new SqliteFailure(code & 0xFF, code, message);
    }

    /// <summary>Refuses a native library with known faults, before any file is touched.</summary>
    public static void CheckVersion(int versionNumber, string version)
    {
        if (versionNumber < MinVersionNumber)
        {
            throw new NotSupportedException(
                $"SQLite {version} can corrupt a database in WAL mode; at least 3.51.3 is needed: "
                + "update SQLitePCLRaw.lib.e_sqlite3");
        }
    }

    public static void CheckVersion() =>
        CheckVersion(raw.sqlite3_libversion_number(), raw.sqlite3_libversion().utf8_to_string());

    /// <summary>Prepares a statement that lives as long as the connection.</summary>
    public SqliteStatement Prepare(string sql)
    {
        var code = raw.sqlite3_prepare_v3(Handle, sql, raw.SQLITE_PREPARE_PERSISTENT, out var handle);
        if (code != raw.SQLITE_OK)
            throw Failure(code);
        var statement = new SqliteStatement(this, handle);
        _statements.Add(statement);
        return statement;
    }

    public void Execute(string sql)
    {
        var code = raw.sqlite3_exec(Handle, sql);
        if (code != raw.SQLITE_OK)
            throw Failure(code);
    }

    /// <summary>The first column of the first row as a number; null when there is no row or it is NULL.</summary>
    public long? QueryNumber(string sql)
    {
        using var statement = PrepareOnce(sql);
        return statement.Step() && !statement.IsNull(0) ? statement.Number(0) : null;
    }

    public string? QueryText(string sql)
    {
        using var statement = PrepareOnce(sql);
        return statement.Step() && !statement.IsNull(0) ? statement.Text(0) : null;
    }

    /// <summary>Prepares a statement that the caller disposes.</summary>
    public SqliteStatement PrepareOnce(string sql)
    {
        var code = raw.sqlite3_prepare_v2(Handle, sql, out var handle);
        return code == raw.SQLITE_OK ? new SqliteStatement(this, handle) : throw Failure(code);
    }

    public int Changes() => raw.sqlite3_changes(Handle);

    public bool InTransaction => raw.sqlite3_get_autocommit(Handle) == 0;

    /// <summary>Copies WAL frames into the database.</summary>
    /// <returns>Whether all of them were copied and, unless passive, the WAL was reset.</returns>
    public bool Checkpoint(int mode, out int walFrames)
    {
        var code = raw.sqlite3_wal_checkpoint_v2(Handle, "main", mode, out walFrames, out var copied);
        if (code == raw.SQLITE_OK)
            return copied == walFrames;
        if ((code & 0xFF) == raw.SQLITE_BUSY)
            return false;
        throw Failure(code);
    }

    public SqliteFailure Failure(int code) =>
        new(code & 0xFF, raw.sqlite3_extended_errcode(Handle) is var extended && (extended & 0xFF) == (code & 0xFF)
            ? extended
            : code, raw.sqlite3_errmsg(Handle).utf8_to_string());

    public void Dispose()
    {
        foreach (var statement in _statements)
            statement.Dispose();
        Handle.Dispose();
    }
}

/// <summary>A prepared statement. Columns count from 0, parameters from 1, as in SQLite.</summary>
internal sealed class SqliteStatement(SqliteConnection connection, sqlite3_stmt handle) : IDisposable
{
    public SqliteStatement Bind(int index, long value)
    {
        Check(raw.sqlite3_bind_int64(handle, index, value));
        return this;
    }

    public SqliteStatement Bind(int index, string? value)
    {
        Check(value is null
            ? raw.sqlite3_bind_null(handle, index)
            : raw.sqlite3_bind_text(handle, index, value));
        return this;
    }

    public SqliteStatement BindText(int index, ReadOnlySpan<byte> utf8)
    {
        Check(raw.sqlite3_bind_text(handle, index, utf8));
        return this;
    }

    public SqliteStatement BindBlob(int index, ReadOnlySpan<byte> bytes)
    {
        Check(raw.sqlite3_bind_blob(handle, index, bytes));
        return this;
    }

    /// <summary>Moves to the next row.</summary>
    public bool Step()
    {
        var code = raw.sqlite3_step(handle);
        if (code == raw.SQLITE_ROW)
            return true;
        if (code == raw.SQLITE_DONE)
            return false;
        // The failure is read before the reset, which sets the connection's error again.
        var failure = connection.Failure(code);
        raw.sqlite3_reset(handle);
        throw failure;
    }

    /// <summary>Runs a statement that gives no rows, and makes it ready for the next time.</summary>
    public void Run()
    {
        Step();
        raw.sqlite3_reset(handle);
    }

    /// <summary>Ends reading: a statement that is not reset keeps its snapshot, and so the WAL.</summary>
    public void Reset() => raw.sqlite3_reset(handle);

    public bool IsNull(int column) => raw.sqlite3_column_type(handle, column) == raw.SQLITE_NULL;

    public bool IsBlob(int column) => raw.sqlite3_column_type(handle, column) == raw.SQLITE_BLOB;

    public long Number(int column) => raw.sqlite3_column_int64(handle, column);

    public string Text(int column) => raw.sqlite3_column_text(handle, column).utf8_to_string() ?? "";

    /// <summary>The bytes of a text or blob; valid until the next step.</summary>
    public ReadOnlySpan<byte> Bytes(int column) => raw.sqlite3_column_blob(handle, column);

    public void Dispose() => handle.Dispose();

    void Check(int code)
    {
        if (code != raw.SQLITE_OK)
            throw connection.Failure(code);
    }
}
