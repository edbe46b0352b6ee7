using System.Net;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Tests.Support;

/// <summary>
/// The reference receiver for exactly-once delivery: ASP.NET Core with a SQLite file whose primary key is (device,
/// module, epoch, id). Commits each batch in one transaction before it responds, and ignores readings that it already
/// has.
/// </summary>
internal sealed class DeduplicatingReceiver(string file, int port, Random random) : IAsyncDisposable
{
    WebApplication? _app;
    volatile bool _isDying;
    bool _hasDied;

    /// <summary>Number of readings received again.</summary>
    public long Repeated { get; private set; }

    /// <summary>Number of readings received again with different content.</summary>
    public long Contradictions { get; private set; }

    public async Task StartAsync()
    {
        _isDying = false;
        using (var database = Open())
            Run(database, "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS reading(device TEXT, module TEXT, epoch TEXT, id INTEGER, data TEXT, PRIMARY KEY(device, module, epoch, id)) WITHOUT ROWID");
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options => options.Listen(IPAddress.Loopback, port));
        _app = builder.Build();
        _app.Run(TakeAsync);
        await _app.StartAsync(TestContext.Current.CancellationToken);
    }

    /// <summary>Stops in the middle of a request, before or after the commit, without a response.</summary>
    public async Task KillAsync()
    {
        _isDying = true;
        await Task.Delay(TimeSpan.FromMilliseconds(random.Next(50, 300)), TimeProvider.System, TestContext.Current.CancellationToken);
        await _app!.StopAsync(new CancellationToken(canceled: true));
        await _app.DisposeAsync();
    }

    /// <summary>The stored ids with their epochs.</summary>
    public IReadOnlyList<(string Epoch, long Id)> Ids()
    {
        using var database = Open();
        using var query = database.CreateCommand();
        query.CommandText = "SELECT epoch, id FROM reading ORDER BY epoch, id";
        using var rows = query.ExecuteReader();
        var ids = new List<(string, long)>();
        while (rows.Read()) ids.Add((rows.GetString(0), rows.GetInt64(1)));
        return ids;
    }

    public async ValueTask DisposeAsync()
    {
        if (_app is not null) await _app.DisposeAsync();
    }

    async Task TakeAsync(HttpContext context)
    {
        using var json = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);

        // The first stop is after the commit, so that at least one batch is sent again.
        var dies = !_isDying ? -1 : _hasDied ? random.Next(3) : 2;
        _hasDied |= _isDying;
        if (dies == 0)
        {
            context.Abort();
            return;
        }

        lock (random)
        {
            using var database = Open();
            using var transaction = database.BeginTransaction();
            foreach (var reading in json.RootElement.GetProperty("batch").EnumerateArray()) Insert(database, json.RootElement, reading);
            if (dies == 1) transaction.Rollback();
            else transaction.Commit();
        }

        if (dies >= 0) context.Abort();
    }

    void Insert(SqliteConnection database, JsonElement batch, JsonElement reading)
    {
        using var insert = database.CreateCommand();
        insert.CommandText = "INSERT OR IGNORE INTO reading VALUES($device, $module, $epoch, $id, $data)";
        foreach (var name in (string[])["device", "module", "epoch"]) insert.Parameters.AddWithValue($"${name}", batch.GetProperty(name).GetString());
        insert.Parameters.AddWithValue("$id", reading.GetProperty("id").GetInt64());
        insert.Parameters.AddWithValue("$data", reading.GetProperty("data").GetRawText());
        if (insert.ExecuteNonQuery() == 1) return;
        Repeated++;
        insert.CommandText = "SELECT data = $data FROM reading WHERE device = $device AND module = $module AND epoch = $epoch AND id = $id";
        if (insert.ExecuteScalar() is not 1L) Contradictions++;
    }

    SqliteConnection Open()
    {
        var database = new SqliteConnection($"Data Source={file};Pooling=False");
        database.Open();
        return database;
    }

    static void Run(SqliteConnection database, string sql)
    {
        using var command = database.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }
}
