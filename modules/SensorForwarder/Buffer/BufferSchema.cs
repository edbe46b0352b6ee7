namespace SensorForwarder.Buffer;

/// <summary>The tables, and how a connection to them is set up. README.md describes the format.</summary>
internal static class BufferSchema
{
    /// <summary>"SFb1" in the database header: says whose file it is.</summary>
    public const int ApplicationId = 0x53466231;

    /// <summary>Counts incompatible changes of the format.</summary>
    public const int FormatVersion = 1;

    public const int PageBytes = 4096;

    const string Tables = """
        CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
        CREATE TABLE queue(id INTEGER PRIMARY KEY, recorded_at INTEGER NOT NULL, clock INTEGER NOT NULL,
            payload BLOB NOT NULL);
        CREATE TABLE dead_letter(id INTEGER PRIMARY KEY, recorded_at INTEGER NOT NULL, clock INTEGER NOT NULL,
            payload BLOB NOT NULL, refused_at INTEGER NOT NULL, reason TEXT NOT NULL, answer TEXT);
        CREATE TABLE clock(id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, offset_ms INTEGER NOT NULL,
            synchronized INTEGER NOT NULL);
        CREATE TABLE evicted(reason TEXT NOT NULL, sensor TEXT NOT NULL, total INTEGER NOT NULL,
            announced INTEGER NOT NULL, first_id INTEGER, last_id INTEGER, PRIMARY KEY(reason, sensor)) WITHOUT ROWID;
        CREATE TABLE document(name TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
        """;

    /// <summary>Sets up the writing connection. The database may be empty.</summary>
    /// <param name="walBytes">What the WAL file is cut to when it starts over.</param>
    public static void ConfigureWriter(SqliteConnection connection, long walBytes)
    {
        connection.Execute("PRAGMA busy_timeout=250");
        // Only a new file: asking for auto_vacuum again would write to it at every start.
        if (connection.QueryNumber("PRAGMA page_count") == 0)
            connection.Execute($"PRAGMA page_size={PageBytes}; PRAGMA auto_vacuum=INCREMENTAL;");
        connection.Execute($"""
            PRAGMA journal_mode=WAL;
            PRAGMA synchronous=FULL;
            PRAGMA wal_autocheckpoint=0;
            PRAGMA journal_size_limit={walBytes};
            PRAGMA cache_size=-4096;
            PRAGMA secure_delete=OFF;
            """);
        ConfigureAny(connection);
    }

    /// <summary>Whether the tables are exactly those that <see cref="Create"/> makes.</summary>
    public static bool IsIntact(SqliteConnection connection)
    {
        using var query = connection.PrepareOnce("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name");
        var stored = new List<string>();
        while (query.Step())
            stored.Add(query.Text(0));
        return stored.SequenceEqual(Tables
            .Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .OrderBy(sql => sql[..sql.IndexOf('(', StringComparison.Ordinal)], StringComparer.Ordinal));
    }

    public static void ConfigureReader(SqliteConnection connection)
    {
        connection.Execute("PRAGMA busy_timeout=250; PRAGMA query_only=ON; PRAGMA cache_size=-1024;");
        ConfigureAny(connection);
    }

    /// <summary>Makes the tables in one transaction; a crash leaves an empty database or a whole one.</summary>
    public static void Create(SqliteConnection connection, string epoch, long createdAtMs)
    {
        connection.Execute("BEGIN IMMEDIATE");
        connection.Execute(Tables);
        using (var insert = connection.PrepareOnce("INSERT INTO meta(name, value) VALUES(?1, ?2)"))
        {
            insert.Bind(1, "epoch").Bind(2, epoch).Run();
            insert.Bind(1, "created_at").Bind(2, createdAtMs).Run();
        }
        connection.Execute($"PRAGMA application_id={ApplicationId}");
        connection.Execute($"PRAGMA user_version={FormatVersion}");
        connection.Execute("COMMIT");
    }

    // A damaged file must give an error where it is met, not a wild read; nothing in it may run code.
    static void ConfigureAny(SqliteConnection connection) =>
        connection.Execute("PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF; PRAGMA mmap_size=0; "
            + "PRAGMA temp_store=MEMORY;");
}
