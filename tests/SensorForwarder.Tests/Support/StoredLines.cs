using System.Globalization;
using System.IO.Compression;
using Microsoft.Data.Sqlite;

namespace SensorForwarder.Tests.Support;

/// <summary>Reads a buffer's file by its documented format, without the module's code: SQLite, gzip, lines of
/// text.</summary>
internal static class StoredLines
{
    /// <summary>Returns the id and JSON of all readings, including delivered ones, in order.</summary>
    public static List<(long Id, string Json)> Read(string database)
    {
        using var connection = new SqliteConnection($"Data Source={database};Mode=ReadOnly;Pooling=False");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT body FROM segment ORDER BY first_id";
        using var rows = command.ExecuteReader();
        var readings = new List<(long, string)>();
        while (rows.Read())
        {
            using var body = new StreamReader(new GZipStream(rows.GetStream(0), CompressionMode.Decompress));
            while (body.ReadLine() is { } line)
            {
                // ID, unix milliseconds, clock, JSON
                var columns = line.Split('\t', 4);
                readings.Add((long.Parse(columns[0], CultureInfo.InvariantCulture), columns[3]));
            }
        }
        return readings;
    }
}
