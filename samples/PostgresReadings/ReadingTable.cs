using Npgsql;

namespace PostgresReadings;

/// <summary>Stores each reading exactly once, however often it arrives. Thread-safe.</summary>
public sealed class ReadingTable(NpgsqlDataSource database)
{
    volatile bool _hasSchema;

    /// <summary>Creates the missing tables. <see cref="StoreAsync"/> also does this.</summary>
    public async Task CreateAsync(CancellationToken cancellationToken)
    {
        using var schema = new StreamReader(typeof(ReadingTable).Assembly.GetManifestResourceStream("schema.sql")!);
        await using var create = database.CreateCommand(await schema.ReadToEndAsync(cancellationToken));
        await create.ExecuteNonQueryAsync(cancellationToken);
        _hasSchema = true;
    }

    /// <summary>Stores the new readings of a batch, all of them or none, and returns their number.</summary>
    /// <exception cref="NpgsqlException">None was stored. See <see cref="IsLasting"/>.</exception>
    public async Task<int> StoreAsync(Batch batch, CancellationToken cancellationToken)
    {
        if (!_hasSchema) await CreateAsync(cancellationToken);
        await using var insert = database.CreateCommand(
            """
            INSERT INTO reading (device, module, epoch, id, time, data)
            SELECT $1, $2, $3, id, time, data::jsonb FROM unnest($4, $5, $6) AS batch (id, time, data)
            ON CONFLICT DO NOTHING
            """);
        insert.Parameters.AddWithValue(batch.Device);
        insert.Parameters.AddWithValue(batch.Module);
        insert.Parameters.AddWithValue(batch.Epoch);
        insert.Parameters.AddWithValue(batch.Readings.Select(reading => reading.Id).ToArray());
        insert.Parameters.AddWithValue(batch.Readings.Select(reading => reading.Time?.UtcDateTime).ToArray());
        insert.Parameters.AddWithValue(batch.Readings.Select(reading => reading.Data).ToArray());
        return await insert.ExecuteNonQueryAsync(cancellationToken);
    }

    /// <summary>Stores an event that can never be stored as readings. Identical bytes are stored once.</summary>
    public async Task RefuseAsync(byte[] body, string reason, CancellationToken cancellationToken)
    {
        if (!_hasSchema) await CreateAsync(cancellationToken);
        await using var insert = database.CreateCommand("INSERT INTO refused (body, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING");
        insert.Parameters.AddWithValue(body);
        insert.Parameters.AddWithValue(reason.Replace("\0", "\\0", StringComparison.Ordinal));
        await insert.ExecuteNonQueryAsync(cancellationToken);
    }

    /// <summary>Whether PostgreSQL can never store a value of the batch: a text with U+0000 (class 22), or a name that is too long for an index
    /// (class 54).</summary>
    public static bool IsLasting(NpgsqlException exception) =>
        exception.SqlState is { } state && (state.StartsWith("22", StringComparison.Ordinal) || state.StartsWith("54", StringComparison.Ordinal));
}
