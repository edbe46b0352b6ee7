// A receiver for the http sink that stores each reading exactly once in PostgreSQL.
//   ConnectionStrings__Readings   where the database is, as Npgsql reads it
//   MaxAgeDays                    readings older than this are refused (422); 0, the default: no limit
//   ASPNETCORE_URLS               where it listens, such as http://0.0.0.0:8000
using System.Globalization;
using Npgsql;
using PostgresReadings;

var builder = WebApplication.CreateSlimBuilder(args);
builder.Services.AddRequestDecompression();
var connection = builder.Configuration.GetConnectionString("Readings")
    ?? throw new InvalidOperationException("ConnectionStrings__Readings is not set: name the database, such as Host=localhost;Database=readings");
var maxAge = TimeSpan.FromDays(builder.Configuration.GetValue("MaxAgeDays", 0.0));
await using var database = NpgsqlDataSource.Create(connection);
var table = new ReadingTable(database);

var app = builder.Build();
app.UseRequestDecompression();
app.MapPost("/", StoreAsync);
try
{
    await table.CreateAsync(CancellationToken.None);
}
catch (NpgsqlException exception)
{
    app.Logger.LogWarning("The tables could not be created yet: {Message}", exception.Message);
}

await app.RunAsync();

// 200: the readings are committed. 503: the module sends them again. 400 and 422: what can never be stored becomes a dead letter.
async Task<IResult> StoreAsync(HttpRequest request, CancellationToken cancellationToken)
{
    Batch batch;
    try
    {
        using var body = new MemoryStream();
        await request.Body.CopyToAsync(body, cancellationToken);
        batch = Batch.Parse(body.GetBuffer().AsMemory(0, (int)body.Length));
    }
    catch (Exception exception) when (exception is FormatException or InvalidDataException)
    {
        return Results.Json(new { error = exception.Message }, statusCode: 400);
    }

    // A retry would not help: after 422 these readings become dead letters, while the module would retry them after a 5xx.
    var oldest = maxAge > TimeSpan.Zero ? TimeProvider.System.GetUtcNow() - maxAge : DateTimeOffset.MinValue;
    var tooOld = batch.Readings.Where(reading => reading.Time < oldest).ToList();
    if (tooOld.Count > 0)
    {
        var reason = string.Create(CultureInfo.InvariantCulture, $"older than {maxAge.TotalDays} days");
        return Results.Json(new { rejected = tooOld.Select(reading => new { id = reading.Id, reason }) }, statusCode: 422);
    }

    try
    {
        var stored = await table.StoreAsync(batch, cancellationToken);
        return Results.Json(new { stored, repeated = batch.Readings.Count - stored });
    }
    catch (PostgresException exception) when (ReadingTable.IsLasting(exception))
    {
        // A value that PostgreSQL can't store, such as a text with U+0000. The module finds the reading by halving the batch.
        return Results.Json(new { error = exception.MessageText }, statusCode: 422);
    }
    catch (NpgsqlException exception)
    {
        app.Logger.LogWarning("The readings could not be stored: {Message}", exception.Message);
        request.HttpContext.Response.Headers.RetryAfter = "5";
        return Results.Json(new { error = "the database can't be used now" }, statusCode: 503);
    }
}
