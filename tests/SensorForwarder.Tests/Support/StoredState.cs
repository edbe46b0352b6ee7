using Microsoft.Data.Sqlite;
using SensorForwarder.Buffer;

namespace SensorForwarder.Tests.Support;

/// <summary>The state of the readings in a buffer that another process has open.</summary>
internal static class StoredState
{
    /// <param name="directory">The directory of the buffer.</param>
    public static QueueState Read(string directory)
    {
        using var database = new SqliteConnection($"Data Source={directory}/telemetry.db;Mode=ReadOnly;Pooling=False");
        database.Open();
        using var command = database.CreateCommand();
        command.CommandText = "SELECT state FROM segment WHERE state IS NOT NULL UNION ALL SELECT value FROM meta WHERE name = 'state'";
        using var rows = command.ExecuteReader();
        var newest = QueueState.Empty;
        while (rows.Read())
        {
            if (QueueState.TryParse(rows.GetString(0)) is { } state && state.Sequence > newest.Sequence) newest = state;
        }

        return newest;
    }
}
