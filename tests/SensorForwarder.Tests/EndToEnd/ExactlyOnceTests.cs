using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>At-least-once delivery and a receiver that deduplicates by (device, module, epoch, id) store each reading exactly once, whichever is killed.</summary>
public sealed class ExactlyOnceTests(ITestOutputHelper output) : IDisposable
{
    static readonly int Rounds = Tier.Size("TEST_KILL_ROUNDS", quick: 2, full: 8, deep: 40);

    readonly string _directory = Directory.CreateTempSubdirectory("once-").FullName;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    string Data => Path.Combine(_directory, "data");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact(Explicit = true)]
    public async Task A_deduplicating_receiver_has_each_reading_once_after_kills_on_both_sides()
    {
        var seed = Tier.Seed ?? 7;
        output.WriteLine($"TEST_SEED={seed}");
        var random = new Random(seed);
        await File.WriteAllTextAsync(
            Path.Combine(_directory, "settings.json"),
            """{"batchSize":50,"uploadIntervalSeconds":0.1,"commitIntervalMs":20,"drainOrder":"liveFirst","sensors":{"a":{"kind":"simulated","intervalSeconds":0.02}}}""",
            Token);
        var port = FreePort.Find();

        await using var receiver = new DeduplicatingReceiver(Path.Combine(_directory, "received.db"), port, random);
        await receiver.StartAsync();
        var module = StartModule(port);
        // Continues until a kill has hit a batch between its arrival and its acknowledgement.
        for (var round = 0; round < Rounds || (receiver.Repeated == 0 && round < 20 * Rounds); round++)
        {
            // New readings arrive in each round, so that a kill interrupts work. Each side is killed once, then a random one.
            var before = receiver.Ids().Count;
            await Until.True(() => receiver.Ids().Count > before + 20);
            if (round == 0 || (round > 1 && random.Next(2) == 0))
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

        // The module sends most waiting readings; the last run measures nothing and sends the rest.
        await Until.True(() => Waiting() < 200);
        await module.LineAsync("Forwarding to"); // a signal before that would end the process without a clean stop
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
        // The epoch changes with each start; the ids continue.
        Assert.Equal(Enumerable.Range(1, (int)StoredState.Read(Data).LastId).Select(id => (long)id), ids.Select(id => id.Id).Order());
        Assert.Equal(0, receiver.Contradictions);
        output.WriteLine($"{ids.Count} readings, {receiver.Repeated} received again");
        Assert.True(receiver.Repeated > 0, "no batch was received twice, so nothing was tested");
    }

    ChildProcess StartModule(int port) => ChildProcess.StartModule(
        ("Buffer__Directory", Data), ("Web__Port", "0"), ("Settings__File", Path.Combine(_directory, "settings.json")),
        ("Http__Endpoint", $"http://127.0.0.1:{port}/"));

    async Task<ChildProcess> KillAsync(ChildProcess module, int port)
    {
        await module.DisposeAsync(); // SIGKILL
        return StartModule(port);
    }

    long Waiting() => StoredState.Read(Data).Waiting;
}
