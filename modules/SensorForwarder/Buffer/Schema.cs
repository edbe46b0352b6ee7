using Microsoft.Data.Sqlite;

namespace SensorForwarder.Buffer;

/// <summary>The tables and the pragmas of each connection. README.md describes the format.</summary>
internal static class Schema
{
    /// <summary>"SFb1", the <c>application_id</c> in the database header.</summary>
    public const int ApplicationId = 0x53466231;

    /// <summary>The <c>user_version</c>, incremented by incompatible changes, which must also change a table, so that a
    /// damaged number is not taken for a newer format. Files of format 1 are imported.</summary>
    public const int FormatVersion = 2;

    /// <summary>Small, because a commit writes whole pages and most commits have few readings.</summary>
    public const int PageBytes = 1024;

    public const int Format1PageBytes = 4_096;

    /// <summary>The header of a database file, at the beginning of page 1.</summary>
    public const int HeaderBytes = 100;

    const string Tables = """
        CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
        CREATE TABLE segment(first_id INTEGER PRIMARY KEY, last_id INTEGER NOT NULL, readings INTEGER NOT NULL,
            level INTEGER NOT NULL, oldest_at INTEGER NOT NULL, newest_at INTEGER NOT NULL, state, body BLOB NOT NULL);
        CREATE TABLE epoch(first_id INTEGER PRIMARY KEY, epoch TEXT NOT NULL);
        CREATE TABLE dead_letter(id INTEGER PRIMARY KEY, recorded_at INTEGER NOT NULL, clock INTEGER NOT NULL,
            payload BLOB NOT NULL, refused_at INTEGER NOT NULL, reason TEXT NOT NULL, answer TEXT);
        CREATE TABLE clock(id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, offset_ms INTEGER NOT NULL,
            synchronized INTEGER NOT NULL);
        CREATE TABLE evicted(reason TEXT NOT NULL, sensor TEXT NOT NULL, total INTEGER NOT NULL,
            announced INTEGER NOT NULL, first_id INTEGER, last_id INTEGER, PRIMARY KEY(reason, sensor)) WITHOUT ROWID;
        CREATE TABLE document(name TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
        """;

    /// <summary>Configures the writing connection. The database may be empty.</summary>
    public static void ConfigureWriter(SqliteConnection connection)
    {
        connection.Execute("PRAGMA busy_timeout=250");
        if (connection.Number("PRAGMA page_count") == 0)
            connection.Execute($"PRAGMA page_size={PageBytes}");
        // The WAL keeps its length, so that a commit overwrites it in place. The writer syncs it with fdatasync after
        // each commit; SQLite would use fsync, which writes the file system's journal each time.
        connection.Execute("""
            PRAGMA journal_mode=WAL;
            PRAGMA synchronous=NORMAL;
            PRAGMA wal_autocheckpoint=0;
            PRAGMA journal_size_limit=-1;
            PRAGMA cache_size=-2048;
            PRAGMA secure_delete=OFF;
            """);
        ConfigureAny(connection);
    }

    public static void ConfigureReader(SqliteConnection connection)
    {
        connection.Execute("PRAGMA busy_timeout=250; PRAGMA query_only=ON; PRAGMA cache_size=-512;");
        ConfigureAny(connection);
    }

    /// <summary>Whether the schema is exactly that of <see cref="Create"/>: a view or trigger in place of a table could
    /// run foreign SQL.</summary>
    public static bool IsIntact(SqliteConnection connection)
    {
        using var query = connection.Prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
        var stored = new List<string>();
        while (query.Step())
            stored.Add(query.Text(0));
        return stored.SequenceEqual(Tables
            .Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .OrderBy(sql => sql[..sql.IndexOf('(', StringComparison.Ordinal)], StringComparer.Ordinal));
    }

    /// <summary>Creates the tables in one transaction; a crash leaves an empty database or a complete one.</summary>
    public static void Create(SqliteConnection connection, DateTimeOffset now)
    {
        connection.Execute("BEGIN IMMEDIATE");
        connection.Execute(Tables);
        new Meta(connection, null).CreatedAtMs = now.ToUnixTimeMilliseconds();
        connection.Execute($"PRAGMA application_id={ApplicationId}");
        connection.Execute($"PRAGMA user_version={FormatVersion}");
        connection.Execute("COMMIT");
    }

    // A damaged page must cause an error, not an out-of-bounds read, and nothing in the file may run code.
    static void ConfigureAny(SqliteConnection connection) =>
        connection.Execute("PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF; PRAGMA mmap_size=0; "
            + "PRAGMA temp_store=MEMORY;");
}
