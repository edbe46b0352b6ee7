// A receiver for the http sink that stores each reading exactly once in PostgreSQL.
//   ConnectionStrings__Readings   where the database is, as Npgsql reads it
//   MaxAgeDays                    readings older than this are refused (422); 0, the default: none is too old
//   ASPNETCORE_URLS               where it listens, such as http://0.0.0.0:8000
using System.Globalization;
using System.Text.Json;
using Npgsql;

var builder = WebApplication.CreateSlimBuilder(args);
builder.Services.AddRequestDecompression();
var connection = builder.Configuration.GetConnectionString("Readings")
    ?? throw new InvalidOperationException("ConnectionStrings__Readings is not set: name the database, such as Host=localhost;Database=readings");
var maxAge = TimeSpan.FromDays(builder.Configuration.GetValue("MaxAgeDays", 0.0));
await using var database = NpgsqlDataSource.Create(connection);
var hasSchema = false;

var app = builder.Build();
app.UseRequestDecompression();
app.MapPost("/", StoreAsync);
try
{
    await CreateSchemaAsync(CancellationToken.None);
}
catch (NpgsqlException exception)
{
    app.Logger.LogWarning("The tables could not be created yet: {Message}", exception.Message);
}

await app.RunAsync();

// 200 says that the readings are committed. 503 has them sent again, and 4xx makes dead letters of what can never be stored.
async Task<IResult> StoreAsync(HttpRequest request, CancellationToken cancellationToken)
{
    string device, module, epoch;
    List<(long Id, DateTimeOffset? Time, string Data)> readings;
    try
    {
        using var body = await JsonDocument.ParseAsync(request.Body, cancellationToken: cancellationToken);
        var root = body.RootElement;
        (device, module, epoch) = (Text(root, "device"), Text(root, "module"), Text(root, "epoch"));
        readings = [.. root.GetProperty("batch").EnumerateArray().Select(item =>
            (item.GetProperty("id").GetInt64(), TimeOf(item.GetProperty("data")), item.GetProperty("data").GetRawText()))];
    }
    catch (Exception exception) when (exception is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
    {
        return Results.Json(new { error = $"this is no batch of SensorForwarder: {exception.Message}" }, statusCode: 400);
    }

    // These would be refused in a month, too: 422 lets the module put them aside, a 5xx would have them sent again for ever.
    var oldest = maxAge > TimeSpan.Zero ? TimeProvider.System.GetUtcNow() - maxAge : DateTimeOffset.MinValue;
    var tooOld = readings.Where(reading => reading.Time < oldest).ToList();
    if (tooOld.Count > 0)
    {
        var reason = string.Create(CultureInfo.InvariantCulture, $"older than {maxAge.TotalDays} days");
        return Results.Json(new { rejected = tooOld.Select(reading => new { id = reading.Id, reason }) }, statusCode: 422);
    }

    try
    {
        if (!hasSchema) await CreateSchemaAsync(cancellationToken);
        await using var insert = database.CreateCommand(
            """
            INSERT INTO reading (device, module, epoch, id, time, data)
            SELECT $1, $2, $3, id, time, data::jsonb FROM unnest($4, $5, $6) AS batch (id, time, data)
            ON CONFLICT DO NOTHING
            """);
        insert.Parameters.AddWithValue(device);
        insert.Parameters.AddWithValue(module);
        insert.Parameters.AddWithValue(epoch);
        insert.Parameters.AddWithValue(readings.Select(reading => reading.Id).ToArray());
        insert.Parameters.AddWithValue(readings.Select(reading => reading.Time?.UtcDateTime).ToArray());
        insert.Parameters.AddWithValue(readings.Select(reading => reading.Data).ToArray());
        var stored = await insert.ExecuteNonQueryAsync(cancellationToken);
        return Results.Json(new { stored, repeated = readings.Count - stored });
    }
    catch (PostgresException exception) when (exception.SqlState.StartsWith("22", StringComparison.Ordinal))
    {
        // A value that PostgreSQL can't hold, such as a text with U+0000. The module finds the reading by halving the batch.
        return Results.Json(new { error = exception.MessageText }, statusCode: 422);
    }
    catch (NpgsqlException exception)
    {
        app.Logger.LogWarning("The readings could not be stored: {Message}", exception.Message);
        request.HttpContext.Response.Headers.RetryAfter = "5";
        return Results.Json(new { error = "the database can't be used now" }, statusCode: 503);
    }
}

async Task CreateSchemaAsync(CancellationToken cancellationToken)
{
    using var schema = new StreamReader(typeof(Program).Assembly.GetManifestResourceStream("schema.sql")!);
    await using var create = database.CreateCommand(await schema.ReadToEndAsync(cancellationToken));
    await create.ExecuteNonQueryAsync(cancellationToken);
    hasSchema = true;
}

static string Text(JsonElement batch, string name) =>
    batch.GetProperty(name).GetString() ?? throw new FormatException($"'{name}' is null");

static DateTimeOffset? TimeOf(JsonElement data) =>
    data.ValueKind == JsonValueKind.Object && data.TryGetProperty("time", out var time) && time.ValueKind == JsonValueKind.String
        && time.TryGetDateTimeOffset(out var value) ? value : null;
