using System.Runtime.InteropServices;
using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace SensorForwarder.Buffer;

/// <summary>
/// Calls SQLite through the native handle of a connection, for what Microsoft.Data.Sqlite lacks: statements without
/// allocations per row and parameter (which cost more than SQLite itself), checkpoints, and extended result codes. A
/// connection is used by one thread at a time.
/// </summary>
internal static partial class Sqlite
{
    /// <summary>In older versions, two connections can corrupt a WAL database (the WAL-reset bug).</summary>
    public const int MinVersionNumber = 3_051_003;

    const int FileTooLarge = 27; // EFBIG

    /// <summary>Throws if the native library is too old; called before any file is touched.</summary>
    public static void CheckVersion(int versionNumber, string version)
    {
        if (versionNumber < MinVersionNumber)
        {
            throw new NotSupportedException(
                $"SQLite {version} can corrupt a database in WAL mode; at least 3.51.3 is required: "
                + "update SQLitePCLRaw.lib.e_sqlite3");
        }
    }

    public static void CheckVersion()
    {
        Batteries_V2.Init();
        CheckVersion(raw.sqlite3_libversion_number(), raw.sqlite3_libversion().utf8_to_string());
    }

    /// <param name="vfs">The SQLite VFS; null: the default.</param>
    /// <exception cref="SqliteException">The file can't be opened.</exception>
    public static SqliteConnection Open(string path, SqliteOpenMode mode, string? vfs)
    {
        var text = new SqliteConnectionStringBuilder { DataSource = path, Mode = mode, Pooling = false };
        if (vfs is not null)
            text.Vfs = vfs;
        var connection = new SqliteConnection(text.ToString());
        try
        {
            connection.Open();
            raw.sqlite3_extended_result_codes(connection.Handle, 1);
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Whether the file is damaged or not a database. Constraint failures count as damage, because the values
    /// written never violate a constraint of an intact file.</summary>
    public static bool IsDamage(this SqliteException failure) =>
        failure.SqliteErrorCode is raw.SQLITE_CORRUPT or raw.SQLITE_NOTADB or raw.SQLITE_CONSTRAINT
            or raw.SQLITE_MISMATCH;

    /// <summary>Creates the exception that reports damage.</summary>
    public static SqliteException Damage(string what) => new(what, raw.SQLITE_CORRUPT, raw.SQLITE_CORRUPT);

    public static void Execute(this SqliteConnection connection, string sql)
    {
        var code = raw.sqlite3_exec(connection.Handle, sql);
        if (code != raw.SQLITE_OK)
            throw connection.Failure(code);
    }

    /// <summary>The first column of the first row as a number; null when there is no row or it is NULL.</summary>
    public static long? Number(this SqliteConnection connection, string sql)
    {
        using var statement = connection.Prepare(sql);
        return statement.Step() && !statement.IsNull(0) ? statement.Number(0) : null;
    }

    /// <inheritdoc cref="Number"/>
    public static string? Text(this SqliteConnection connection, string sql)
    {
        using var statement = connection.Prepare(sql);
        return statement.Step() && !statement.IsNull(0) ? statement.Text(0) : null;
    }

    /// <summary>Prepares a statement, which the caller disposes before the connection.</summary>
    public static Statement Prepare(this SqliteConnection connection, string sql)
    {
        var code = raw.sqlite3_prepare_v2(connection.Handle, sql, out var handle);
        return code == raw.SQLITE_OK ? new Statement(connection, handle) : throw connection.Failure(code);
    }

    public static int Changes(this SqliteConnection connection) => raw.sqlite3_changes(connection.Handle);

    public static bool IsInTransaction(this SqliteConnection connection) =>
        raw.sqlite3_get_autocommit(connection.Handle) == 0;

    /// <summary>Runs a checkpoint.</summary>
    /// <returns>Whether all frames were copied and, for TRUNCATE, the WAL was truncated.</returns>
    public static bool Checkpoint(this SqliteConnection connection, int mode, out int walFrames)
    {
        var code = raw.sqlite3_wal_checkpoint_v2(connection.Handle, "main", mode, out walFrames, out var copied);
        if (code == raw.SQLITE_OK)
            return copied == walFrames;
        if ((code & 0xFF) == raw.SQLITE_BUSY)
            return false;
        throw connection.Failure(code);
    }

    /// <summary>Creates the exception for a call that returned <paramref name="code"/>.</summary>
    public static SqliteException Failure(this SqliteConnection connection, int code)
    {
        var extended = raw.sqlite3_extended_errcode(connection.Handle);
        if ((extended & 0xFF) != (code & 0xFF))
            extended = code;
        // A file size limit (ulimit -f) is handled like a full volume.
        if (extended == raw.SQLITE_IOERR_WRITE
            && sqlite3_system_errno(connection.Handle!.DangerousGetHandle()) == FileTooLarge)
            extended = raw.SQLITE_FULL;
        return new($"SQLite {extended}: {raw.sqlite3_errmsg(connection.Handle).utf8_to_string()}",
            extended & 0xFF, extended);
    }

#pragma warning disable IDE1006 // The function has SQLite's name.
    [LibraryImport("e_sqlite3")]
    private static partial int sqlite3_system_errno(nint connection);
#pragma warning restore IDE1006
}

/// <summary>A prepared statement. Columns count from 0, parameters from 1, as in SQLite.</summary>
internal sealed class Statement(SqliteConnection connection, sqlite3_stmt handle) : IDisposable
{
    public Statement Bind(int index, long value)
    {
        Check(raw.sqlite3_bind_int64(handle, index, value));
        return this;
    }

    public Statement Bind(int index, string? value)
    {
        Check(value is null
            ? raw.sqlite3_bind_null(handle, index)
            : raw.sqlite3_bind_text(handle, index, value));
        return this;
    }

    public Statement BindText(int index, ReadOnlySpan<byte> utf8)
    {
        Check(raw.sqlite3_bind_text(handle, index, utf8));
        return this;
    }

    public Statement BindBlob(int index, ReadOnlySpan<byte> bytes)
    {
        Check(raw.sqlite3_bind_blob(handle, index, bytes));
        return this;
    }

    /// <summary>Moves to the next row; false at the end.</summary>
    public bool Step()
    {
        var code = raw.sqlite3_step(handle);
        if (code == raw.SQLITE_ROW)
            return true;
        if (code == raw.SQLITE_DONE)
            return false;
        // Read the error before the reset, which overwrites it.
        var failure = connection.Failure(code);
        raw.sqlite3_reset(handle);
        throw failure;
    }

    /// <summary>Runs a statement that returns no rows, and resets it.</summary>
    public void Run()
    {
        Step();
        Reset();
    }

    /// <summary>Ends the read transaction: an active statement keeps its snapshot, and the WAL can't restart.</summary>
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
