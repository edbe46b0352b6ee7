using System.Diagnostics;
using Microsoft.Data.Sqlite;
using static SensorForwarder.Benchmarks.Surroundings;

namespace SensorForwarder.Benchmarks.Buffer;

/// <summary>
/// The designs that the buffer is compared with. "Naive" is the usual tutorial: ADO.NET, one transaction per reading in
/// SQLite's default journal mode, 50 rows per flush, one DELETE per row. "Bulk" is the upper limit: one prepared
/// INSERT, one transaction.
/// </summary>
internal static class Contenders
{
    const string Payload =
        """{"sensor":"attic","kind":"bme280","time":"2026-11-24T14:20:31.123Z","quality":"good","values":{"temperature":21.43,"humidity":41.25,"pressure":1013.25}}""";

    public static double NaivePerSecond(string directory, int readings)
    {
        using var connection = Open(directory, "CREATE TABLE queue(id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT)");
        var clock = Stopwatch.StartNew();
        for (var i = 0; i < readings; i++)
            Insert(connection);
        return readings / clock.Elapsed.TotalSeconds;
    }

    public static double NaiveBytesPerReading(string directory, int readings)
    {
        var before = WrittenBytes();
        using (var connection = Open(
            directory, "CREATE TABLE queue(id INTEGER PRIMARY KEY AUTOINCREMENT, payload TEXT)"))
        {
            for (var i = 1; i <= readings; i++)
            {
                Insert(connection);
                if (i % 50 == 0)
                    Flush(connection);
            }
        }
        return (double)(WrittenBytes() - before) / readings;
    }

    public static double BulkPerSecond(string directory, int readings)
    {
        using var connection = Open(directory, QueueTable);
        var clock = Stopwatch.StartNew();
        InsertMany(connection, readings);
        return readings / clock.Elapsed.TotalSeconds;
    }

    const string QueueTable =
        "CREATE TABLE queue(id INTEGER PRIMARY KEY, recorded_at INTEGER NOT NULL, clock INTEGER NOT NULL, "
        + "payload BLOB NOT NULL)";

    static void InsertMany(SqliteConnection connection, int readings)
    {
        using var transaction = connection.BeginTransaction();
        using var insert = connection.CreateCommand();
        insert.CommandText = "INSERT INTO queue(id, recorded_at, clock, payload) VALUES($id, $at, 1, $payload)";
        var id = insert.Parameters.Add("$id", SqliteType.Integer);
        insert.Parameters.AddWithValue("$at", 1_795_000_000_000L);
        insert.Parameters.AddWithValue("$payload", Payload);
        insert.Prepare();
        for (var i = 1; i <= readings; i++)
        {
            id.Value = i;
            insert.ExecuteNonQuery();
        }
        transaction.Commit();
    }

    static void Insert(SqliteConnection connection)
    {
        using var insert = connection.CreateCommand();
        insert.CommandText = "INSERT INTO queue(payload) VALUES($payload)";
        insert.Parameters.AddWithValue("$payload", Payload);
        insert.ExecuteNonQuery();
    }

    static void Flush(SqliteConnection connection)
    {
        var ids = new List<long>();
        using (var select = connection.CreateCommand())
        {
            select.CommandText = "SELECT id, payload FROM queue ORDER BY id LIMIT 50";
            using var reader = select.ExecuteReader();
            while (reader.Read())
                ids.Add(reader.GetInt64(0));
        }
        foreach (var id in ids)
        {
            using var delete = connection.CreateCommand();
            delete.CommandText = "DELETE FROM queue WHERE id = $id";
            delete.Parameters.AddWithValue("$id", id);
            delete.ExecuteNonQuery();
        }
    }

    static SqliteConnection Open(string directory, string sql)
    {
        var connection = new SqliteConnection($"Data Source={Path.Combine(directory, "telemetry.db")};Pooling=False");
        connection.Open();
        Execute(connection, sql);
        return connection;
    }

    static void Execute(SqliteConnection connection, string sql)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }
}
