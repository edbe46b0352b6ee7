using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The whole module against the simulator, for hours of a fake clock: continuous sensing, twin changes and
/// methods; the connection is cut every 25 minutes, and the network fails for 4 minutes of every 90.</summary>
public sealed class ModuleSoakTests : IDisposable
{
    // Ten hours take about a minute. SoakTests is quicker and covers the connection alone.
    static readonly double Hours = Tier.Size("SOAK_MINUTES", quick: 120, full: 120, deep: 600) / 60.0;

    static readonly TimeSpan Step = TimeSpan.FromSeconds(5);

    // The longest real time that a step of the fake clock waits for other threads.
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    readonly LogLines _log = new();
    readonly string _directory = Directory.CreateTempSubdirectory("soak-").FullName;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact(Explicit = true)]
    public async Task Hours_of_operation_with_outages_lose_no_reading_and_leak_nothing()
    {
        var clock = new ObservedClock(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.OpenAsync(clock, TimeProvider.System);
        world.Twin.PatchDesired(JsonNode.Parse(
            """{"batchSize":10,"uploadIntervalSeconds":10,"sensors":{"a":{"kind":"simulated","intervalSeconds":5},"b":{"kind":"simulated","intervalSeconds":30}}}""")!.AsObject());
        await using var module = (await Module.BuildAsync(ReadBoot(world), clock, _log.Factory(), Token))!;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        var running = module.RunAsync(stop.Token);
        var connection = module.Services.GetRequiredService<EdgeHubConnection>();
        await connection.WaitUntilConnectedAsync(Token);

        var (timersEarly, bytesEarly, descriptorsEarly) = (0, 0L, 0);
        var (cuts, answers, steps) = (0, 0, (int)(TimeSpan.FromHours(Hours) / Step));
        for (var step = 1; step <= steps; step++)
        {
            clock.Advance(Step);
            await SettledAsync(connection);
            if (step == steps / 4) (timersEarly, bytesEarly, descriptorsEarly) = (clock.Timers, Memory(), Descriptors());
            var second = step * (int)Step.TotalSeconds;
            if (second % 5400 == 4800) world.Faults.Update(faults => faults with { Blackout = true });
            if (second % 5400 == 5040) world.Faults.Update(faults => faults with { Blackout = false });
            if (world.Faults.Current.Blackout || connection.Status.State != HubState.Connected) continue;
            if (second % 600 == 0 && await IsAnsweredAsync(world, batchSize: 5 + (step % 20))) answers++;
            if (second % 1500 == 1495)
            {
                cuts++;
                world.Hub.Cut("soak");
            }
        }

        // Every reading arrives.
        world.Twin.PatchDesired(JsonNode.Parse("""{"sensors":{"a":null,"b":null}}""")!.AsObject());
        var (_, summary) = await Until.Value(
            () => (module.Buffer.LastCommittedId, world.Ledger.Summary()),
            all => all.LastCommittedId == all.Item2.Unique && module.Buffer.GetStatus().Depth == 0 && connection.Status.State == HubState.Connected,
            clock, TimeSpan.FromSeconds(1));
        var counters = connection.Counters;
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{Hours} h: {summary.Unique} readings, {summary.Duplicates} twice; {counters}; timers {timersEarly} then {clock.Timers}; "
            + $"heap {bytesEarly >> 10} then {Memory() >> 10} KiB; descriptors {descriptorsEarly} then {Descriptors()}; {_log.All.Count()} log lines"));
        Assert.Equal(0, summary.Lost);
        Assert.Equal(summary.Duplicates, summary.DuplicatesExplained);
        Assert.True(summary.Unique > Hours * 3600 / 6, $"{summary.Unique} readings");
        Assert.True(cuts > Hours && connection.Status.Reconnects >= cuts);
        Assert.True(counters.Renewals >= 1, "no token was renewed");
        Assert.True(answers >= Hours * 3, $"{answers} answers of methods");
        await Until.True(() => connection.OpenRequests == 0);
        await Until.True(() => clock.Timers <= timersEarly + 5);
        await stop.CancelAsync();
        Assert.True(await running);
        LogLine.Check(_log.All);

        // In a shorter run the heap is dominated by what other tests hold.
        if (Hours < 10) return;
        Assert.InRange(Memory() - bytesEarly, long.MinValue, 4 << 20);
        Assert.InRange(Descriptors(), 0, descriptorsEarly + 2);
    }

    /// <summary>Waits until the effects of a step are complete: no connection is being opened, and nothing is in
    /// flight.</summary>
    static async Task SettledAsync(EdgeHubConnection connection)
    {
        var since = TimeProvider.System.GetTimestamp();
        do
        {
            await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, Token);
        }
        while (TimeProvider.System.GetElapsedTime(since) < Patience &&
            !(connection.Status.State == HubState.Disconnected || (connection.WaitUntilConnectedAsync(Token).IsCompleted && connection.UnderWay + connection.OpenRequests == 0)));
    }

    /// <summary>Changes the twin and calls getStatus.</summary>
    /// <returns>False if the connection had ended, or ended meanwhile, which the module may not know yet.</returns>
    static async Task<bool> IsAnsweredAsync(HubWorld world, int batchSize)
    {
        world.Twin.PatchDesired(new JsonObject { ["batchSize"] = batchSize });
        var answer = await world.Hub.Methods.InvokeAsync("getStatus", new JsonObject(), TimeSpan.FromSeconds(60), Token);
        if (answer.Status is 404 or 504) return false;
        Assert.Equal(200, answer.Status);
        return true;
    }

    static long Memory() => GC.GetTotalMemory(forceFullCollection: true);

    static int Descriptors() => Directory.GetFiles("/proc/self/fd").Length;

    BootOptions ReadBoot(HubWorld world) => BootOptions.Read(
        new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["IOTEDGE_WORKLOADURI"] = $"unix://{world.WorkloadIdentity.Workload!.SocketPath}",
            ["IOTEDGE_AUTHSCHEME"] = "sasToken",
            ["IOTEDGE_MODULEGENERATIONID"] = world.Identity.GenerationId,
            ["IOTEDGE_IOTHUBHOSTNAME"] = world.Identity.HubHost,
            ["IOTEDGE_GATEWAYHOSTNAME"] = world.Identity.GatewayHost,
            ["IOTEDGE_DEVICEID"] = world.Identity.DeviceId,
            ["IOTEDGE_MODULEID"] = world.Identity.ModuleId,
            ["EdgeHub:Transport"] = "mqtt",
            ["Buffer:Directory"] = _directory,
            ["Web:Port"] = "0",
        }).Build());
}
