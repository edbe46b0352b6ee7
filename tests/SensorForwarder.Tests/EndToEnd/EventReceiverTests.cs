using System.IO.Compression;
using System.Text;
using Npgsql;
using PostgresReadings;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>How the sample Azure Function stores the events of IoT Hub in a real PostgreSQL server.</summary>
public sealed class EventReceiverTests : IAsyncLifetime
{
    const string Time = "2026-11-30T12:00:00Z";

    readonly string _directory = Directory.CreateTempSubdirectory("pg-").FullName;
    PostgresServer _server = null!;
    NpgsqlDataSource _database = null!;
    EventReceiver _receiver = null!;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        PostgresServer.Require();
        _server = await PostgresServer.StartAsync(Directory.CreateDirectory(Path.Combine(_directory, "pg")).FullName);
        _database = NpgsqlDataSource.Create(_server.ConnectionString);
        _receiver = new(new(_database));
    }

    public async ValueTask DisposeAsync()
    {
        if (_database is not null) await _database.DisposeAsync();
        if (_server is not null) await _server.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact(Explicit = true)]
    public async Task Each_reading_is_stored_once_however_often_its_event_arrives()
    {
        const string Gap = """{"id":4,"data":{"kind":"gap","time":"2026-11-30T12:00:00Z","gap":{"epoch":"e","firstId":5,"lastId":9,"count":5,"reason":"full"}}}""";
        byte[][] events =
        [
            Plain(Batch("pi", Reading(1), Reading(2))),
            Gzip(Batch("pi", Reading(2), Reading(3), Gap)),
            Plain(Batch("pi", Reading(1), Reading(2))),
            Gzip(Batch("other", Reading(1))),
        ];

        var (stored, refused) = await _receiver.StoreAsync(events, Token);
        Assert.Equal(5, stored);
        Assert.Empty(refused);
        Assert.Equal(0, (await _receiver.StoreAsync(events.Reverse(), Token)).Stored);

        Assert.Equal(
            ["other|1", "pi|1", "pi|2", "pi|3", "pi|4"],
            await _server.QueryAsync("SELECT device, id FROM reading ORDER BY device, id"));
        Assert.Equal(["pi|5|9|5|full"], await _server.QueryAsync("SELECT device, first_id, last_id, count, reason FROM gap"));
        Assert.Equal(["3"], await _server.QueryAsync("SELECT count(*) FROM value WHERE device = 'pi' AND name = 'temperature' AND value = 1"));
    }

    [Fact(Explicit = true)]
    public async Task Invalid_events_are_kept_in_a_separate_table_and_all_later_readings_are_stored()
    {
        var packed = Gzip(Batch("pi", Reading(100)));
        byte[][] poisoned =
        [
            Plain("no JSON"),
            Plain("""{"sensor":"attic","temperature":1}"""),
            Plain("""{"device":"pi","module":null,"epoch":"e","batch":[]}"""),
            packed[..^12],
            [.. packed[..10], .. new byte[20]],
            Gzip(new string(' ', (64 << 20) + 1)),
            [],
            Plain(Batch("pi", [.. Enumerable.Range(1, 7).Select(id => id == 5 ? Reading(id).Replace("attic", "\\u0000", StringComparison.Ordinal) : Reading(id))])),
            Plain(Batch(Convert.ToHexString(RandomBytes(8000)), Reading(1))),
        ];
        byte[][] events = [.. poisoned, Gzip(Batch("pi", Reading(8)))];

        var (stored, refused) = await _receiver.StoreAsync(events, Token);
        Assert.Equal(poisoned.Length, refused.Count);
        Assert.Equal(7, stored);
        Assert.Equal(0, (await _receiver.StoreAsync(events, Token)).Stored);

        Assert.Equal(["1", "2", "3", "4", "6", "7", "8"], await _server.QueryAsync("SELECT id FROM reading ORDER BY id"));
        Assert.Equal([$"{poisoned.Length}"], await _server.QueryAsync("SELECT count(*) FROM refused"));
        Assert.Equal(
            ["""{"device":"pi","module":"m","epoch":"e","batch":[{"id":5,"data":{"sensor":"\u0000","time":"2026-11-30T12:00:00Z","values":{"temperature":1}}}]}"""],
            await _server.QueryAsync("SELECT convert_from(body, 'UTF8') FROM refused WHERE body LIKE '%u0000%'"));
    }

    [Fact(Explicit = true)]
    public async Task Events_that_failed_because_the_database_was_down_are_stored_by_a_retry()
    {
        var events = Enumerable.Range(0, 20).Select(first => Gzip(Batch("pi", Reading(10 * first + 1), Reading(10 * first + 2)))).ToList();
        await _receiver.StoreAsync(events.Take(10), Token);
        await _server.CrashAsync();
        await Assert.ThrowsAnyAsync<NpgsqlException>(() => _receiver.StoreAsync(events, Token));

        await _server.StartAsync();
        await Until.True(async () =>
        {
            try
            {
                await _receiver.StoreAsync(events, Token);
                return true;
            }
            catch (NpgsqlException)
            {
                return false; // the host would call the function again
            }
        });
        Assert.Equal(["40|40"], await _server.QueryAsync("SELECT count(*), count(DISTINCT id) FROM reading"));
        Assert.Equal(["0"], await _server.QueryAsync("SELECT count(*) FROM refused"));
    }

    static string Batch(string device, params string[] readings) =>
        $$"""{"device":"{{device}}","module":"m","epoch":"e","batch":[{{string.Join(',', readings)}}]}""";

    static string Reading(int id) =>
        $$"""{"id":{{id}},"data":{"sensor":"attic","time":"{{Time}}","values":{"temperature":1}""" + "}}";

    static byte[] RandomBytes(int count)
    {
        var bytes = new byte[count];
        new Random(1).NextBytes(bytes);
        return bytes;
    }

    static byte[] Plain(string text) => Encoding.UTF8.GetBytes(text);

    static byte[] Gzip(string text)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest)) gzip.Write(Plain(text));
        return packed.ToArray();
    }
}
