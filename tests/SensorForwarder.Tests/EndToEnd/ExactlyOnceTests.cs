using System.Globalization;
using Microsoft.Data.Sqlite;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>At least once, and a receiver that knows (device, module, epoch, id): together exactly once, whoever is killed.</summary>
public sealed class ExactlyOnceTests(ITestOutputHelper output) : IDisposable
{
    static readonly int Rounds = Tier.Size("TEST_KILL_ROUNDS", quick: 3, full: 8, deep: 40);

    readonly string _directory = Directory.CreateTempSubdirectory("once-").FullName;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string Data => Path.Combine(_directory, "data");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_receiver_that_knows_its_readings_ends_with_each_of_them_once_after_kills_on_both_sides()
    {
        var seed = Tier.Seed ?? 7;
        output.WriteLine($"TEST_SEED={seed}");
        var random = new Random(seed);
        await File.WriteAllTextAsync(
            Path.Combine(_directory, "settings.json"),
            """{"batchSize":20,"uploadIntervalSeconds":0.1,"commitIntervalMs":20,"drainOrder":"liveFirst","sensors":{"a":{"kind":"simulated","intervalSeconds":0.01}}}""",
            Token);
        var port = FreePort.Find();

        await using var receiver = new DeduplicatingReceiver(Path.Combine(_directory, "received.db"), port, random);
        await receiver.StartAsync();
        var module = StartModule(port);
        // On, until a kill has hit a batch between its arrival and its acknowledgement.
        for (var round = 0; round < Rounds || (receiver.Repeated == 0 && round < 20 * Rounds); round++)
        {
            // Something new arrives in each round, so that kills hit work.
            var before = receiver.Ids().Count;
            await Until.True(() => receiver.Ids().Count > before + 20);
            if (random.Next(2) == 0)
            {
                await receiver.KillAsync();
                if (random.Next(2) == 0) module = await KillAsync(module, port);
                await receiver.StartAsync();
            }
            else
            {
                module = await KillAsync(module, port);
            }
        }

        // Time to hand over what waits; then no more readings come, and what is left goes with the last run.
        await Until.True(() => Waiting() < 200);
        await module.LineAsync("Forwarding to"); // a signal before that ends it the hard way
        Assert.Equal(0, await module.StopAsync());
        await module.DisposeAsync();
        await File.WriteAllTextAsync(Path.Combine(_directory, "settings.json"), """{"uploadIntervalSeconds":0,"sensors":{}}""", Token);
        await using (module = StartModule(port))
        {
            await module.LineAsync("Forwarding to");
            await Until.True(() => Waiting() == 0);
            var exitCode = await module.StopAsync();
            Assert.True(exitCode == 0, string.Join('\n', module.Lines));
        }

        var ids = receiver.Ids();
        var (epoch, last) = (Text("SELECT value FROM meta WHERE name = 'epoch'"), Number("SELECT max(coalesce((SELECT value FROM meta WHERE name = 'last_id'), 0), coalesce((SELECT max(id) FROM queue), 0))"));
        Assert.Equal(Enumerable.Range(1, (int)last).Select(id => (epoch, (long)id)), ids);
        Assert.Equal(0, receiver.Contradictions);
        output.WriteLine($"{ids.Count} readings, {receiver.Repeated} came again");
        Assert.True(receiver.Repeated > 0, "no batch came twice: nothing was tested");
    }

    ChildProcess StartModule(int port) => ChildProcess.StartModule(
        ("Buffer__Directory", Data), ("Web__Port", "0"), ("Settings__File", Path.Combine(_directory, "settings.json")),
        ("Http__Endpoint", $"http://127.0.0.1:{port}/"));

    async Task<ChildProcess> KillAsync(ChildProcess module, int port)
    {
        await module.DisposeAsync(); // SIGKILL
        return StartModule(port);
    }

    long Waiting() => Number(
        "SELECT count(*) FROM queue WHERE id > coalesce((SELECT value FROM meta WHERE name = 'acknowledged_through'), 0)");

    long Number(string sql) => long.Parse(Text(sql), CultureInfo.InvariantCulture);

    string Text(string sql)
    {
        using var database = new SqliteConnection($"Data Source={Data}/telemetry.db;Mode=ReadOnly;Pooling=False");
        database.Open();
        using var command = database.CreateCommand();
        command.CommandText = sql;
        return Convert.ToString(command.ExecuteScalar(), CultureInfo.InvariantCulture)!;
    }
}
