using System.Globalization;
using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The sample receiver with a real PostgreSQL server.</summary>
public sealed class PostgresReceiverTests(ITestOutputHelper output) : IAsyncLifetime
{
    static readonly int Rounds = Tier.Size("TEST_KILL_ROUNDS", quick: 3, full: 6, deep: 40);

    readonly string _directory = Directory.CreateTempSubdirectory("pg-").FullName;
    readonly int _port = FreePort.Find();
    PostgresServer? _server;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string Data => Path.Combine(_directory, "data");

    string Settings => Path.Combine(_directory, "settings.json");

    public async ValueTask InitializeAsync()
    {
        PostgresServer.Require();
        _server = await PostgresServer.StartAsync(Directory.CreateDirectory(Path.Combine(_directory, "pg")).FullName);
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null) await _server.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact(Explicit = true)]
    public async Task Each_reading_is_stored_once_although_module_receiver_and_database_are_killed()
    {
        var seed = Tier.Seed ?? 7;
        output.WriteLine($"TEST_SEED={seed}");
        var random = new Random(seed);
        await File.WriteAllTextAsync(
            Settings,
            """{"batchSize":50,"uploadIntervalSeconds":0.1,"commitIntervalMs":20,"compression":"gzip","sensors":{"a":{"kind":"simulated","intervalSeconds":0.02}}}""",
            Token);
        var receiver = await StartReceiverAsync();
        var module = StartModule();
        for (var round = 0; round < Rounds; round++)
        {
            var before = await CountAsync();
            await Until.True(async () => await CountAsync() > before + 20);
            switch (round < 3 ? round : random.Next(3))
            {
                case 0:
                    await receiver.DisposeAsync(); // SIGKILL
                    receiver = await StartReceiverAsync();
                    break;
                case 1:
                    await module.DisposeAsync();
                    module = StartModule();
                    break;
                default:
                    await _server!.CrashAsync();
                    await _server.StartAsync();
                    break;
            }
        }

        // No more readings are measured, and the waiting ones are sent.
        await File.WriteAllTextAsync(Settings, """{"uploadIntervalSeconds":0,"sensors":{}}""", Token);
        long last = 0;
        await Until.True(async () => (last = LastId()) > 0 && await CountAsync() == last);
        await module.DisposeAsync();
        await receiver.DisposeAsync();
        Assert.Equal(last, LastId());
        Assert.Equal(
            [string.Create(CultureInfo.InvariantCulture, $"{last}|1|{last}")],
            await _server!.QueryAsync("SELECT count(DISTINCT id), min(id), max(id) FROM reading"));
        Assert.NotEqual("0", (await _server.QueryAsync("SELECT count(*) FROM value WHERE name = 'temperature'"))[0]);
        output.WriteLine($"{last} readings");
    }

    [Fact(Explicit = true)]
    public async Task A_batch_that_can_never_be_stored_is_refused_for_good_and_one_that_can_later_gets_503()
    {
        await using var receiver = await StartReceiverAsync(("MaxAgeDays", "30"));
        using var client = new HttpClient { BaseAddress = new($"http://127.0.0.1:{_port}/") };
        var now = TimeProvider.System.GetUtcNow().ToString("O", CultureInfo.InvariantCulture);

        Assert.Equal(HttpStatusCode.OK, (await PostAsync(client, Batch((1, now), (2, now)))).StatusCode);
        var again = await PostAsync(client, Batch((2, now), (3, now)), isCompressed: true);
        Assert.Equal("""{"stored":1,"repeated":1}""", await again.Content.ReadAsStringAsync(Token));

        var old = await PostAsync(client, Batch((4, "2001-01-01T00:00:00Z"), (5, now)));
        Assert.Equal(HttpStatusCode.UnprocessableEntity, old.StatusCode);
        Assert.Equal("""{"rejected":[{"id":4,"reason":"older than 30 days"}]}""", await old.Content.ReadAsStringAsync(Token));

        Assert.Equal(HttpStatusCode.BadRequest, (await PostAsync(client, """{"batch":7}""")).StatusCode);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, (await PostAsync(client, Batch((6, now)).Replace("attic", "\\u0000", StringComparison.Ordinal))).StatusCode);

        await _server!.CrashAsync();
        var down = await PostAsync(client, Batch((7, now)));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, down.StatusCode);
        Assert.NotNull(down.Headers.RetryAfter);
        await _server.StartAsync();
        await Until.True(async () => (await PostAsync(client, Batch((7, now)))).StatusCode == HttpStatusCode.OK);
        Assert.Equal(["1", "2", "3", "7"], await _server.QueryAsync("SELECT id FROM reading ORDER BY id"));
    }

    static string Batch(params (int Id, string Time)[] readings)
    {
        var batch = readings.Select(reading =>
            $$"""{"id":{{reading.Id}},"data":{"sensor":"attic","time":"{{reading.Time}}","values":{"temperature":1}""" + "}}");
        return $$"""{"device":"pi","module":"m","epoch":"e","batch":[{{string.Join(',', batch)}}]}""";
    }

    static async Task<HttpResponseMessage> PostAsync(HttpClient client, string body, bool isCompressed = false)
    {
        var bytes = Encoding.UTF8.GetBytes(body);
        using var compressed = new MemoryStream();
        await using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest, leaveOpen: true)) await gzip.WriteAsync(bytes, Token);
        using var content = new ByteArrayContent(isCompressed ? compressed.ToArray() : bytes);
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        if (isCompressed) content.Headers.ContentEncoding.Add("gzip");
        return await client.PostAsync("", content, Token);
    }

    async Task<ChildProcess> StartReceiverAsync(params (string Name, string Value)[] more)
    {
        var receiver = ChildProcess.StartPostgresReceiver(
            [("ConnectionStrings__Readings", _server!.ConnectionString), ("ASPNETCORE_URLS", $"http://127.0.0.1:{_port}"), .. more]);
        await receiver.LineAsync("Application started");
        return receiver;
    }

    ChildProcess StartModule() => ChildProcess.StartModule(
        ("Buffer__Directory", Data), ("Web__Port", "0"), ("Settings__File", Settings), ("Http__Endpoint", $"http://127.0.0.1:{_port}/"));

    async Task<long> CountAsync() =>
        long.Parse((await _server!.QueryAsync("SELECT count(*) FROM reading"))[0], CultureInfo.InvariantCulture);

    long LastId() => StoredState.Read(Data).LastId;
}
