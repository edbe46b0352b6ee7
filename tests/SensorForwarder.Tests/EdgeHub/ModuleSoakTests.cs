using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Configuration;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Operations;
using SensorForwarder.Sensors;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EdgeHub;

/// <summary>The whole module, put together as in Program.cs, for hours by a fake clock, against the simulator: sensing,
/// twin and methods all the time, the connection cut every 25 minutes, no network for 4 minutes of every 90.</summary>
public sealed class ModuleSoakTests : IDisposable
{
    // The quick one has one blackout; ten hours take about a minute.
    static readonly double Hours = Tier.Size("SOAK_MINUTES", quick: 95, full: 120, deep: 600) / 60.0;

    static readonly TimeSpan Step = TimeSpan.FromSeconds(5);

    // For what other threads do by the real clock, a step of the fake one waits so long at most.
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    readonly LogLines _log = new();
    readonly string _directory = Directory.CreateTempSubdirectory("soak-").FullName;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task Hours_of_everything_lose_nothing_and_leave_nothing_behind()
    {
        var clock = new CountingClock(TimeProvider.System.GetUtcNow());
        await using var world = await HubWorld.OpenAsync(clock, TimeProvider.System);
        world.Twin.PatchDesired(JsonNode.Parse(
            """{"batchSize":10,"uploadIntervalSeconds":10,"sensors":{"a":{"kind":"simulated","intervalSeconds":5},"b":{"kind":"simulated","intervalSeconds":30}}}""")!.AsObject());
        await using var buffer = await TelemetryBuffer.OpenAsync(
            new BufferOptions { Directory = _directory }, clock, _log.For<TelemetryBuffer>(), Token);
        using var host = Build(world, buffer, clock);
        await host.StartAsync(Token);
        var connection = host.Services.GetRequiredService<EdgeHubConnection>();
        await connection.WaitUntilConnectedAsync(Token);

        var (timersEarly, bytesEarly, descriptorsEarly) = (0, 0L, 0);
        var (cuts, steps) = (0, (int)(TimeSpan.FromHours(Hours) / Step));
        for (var step = 1; step <= steps; step++)
        {
            clock.Advance(Step);
            await SettledAsync(connection);
            if (step == steps / 4) (timersEarly, bytesEarly, descriptorsEarly) = (clock.Timers, Memory(), Descriptors());
            var second = step * (int)Step.TotalSeconds;
            if (second % 5400 == 4800) world.Faults.Update(faults => faults with { Blackout = true });
            if (second % 5400 == 5040) world.Faults.Update(faults => faults with { Blackout = false });
            if (world.Faults.Current.Blackout || connection.Status.State != HubState.Connected) continue;
            if (second % 600 == 0) await TalkAsync(world, batchSize: 5 + (step % 20));
            if (second % 1500 == 1495)
            {
                cuts++;
                world.Hub.Cut("soak");
            }
        }

        // All that was sensed arrives.
        world.Twin.PatchDesired(JsonNode.Parse("""{"sensors":{"a":null,"b":null}}""")!.AsObject());
        await Until.True(() => buffer.GetStatus().Depth == 0 && connection.Status.State == HubState.Connected, clock, TimeSpan.FromSeconds(1));
        var (summary, counters) = (world.Ledger.Summary(), connection.Counters);
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{Hours} h: {summary.Unique} readings, {summary.Duplicates} twice; {counters}; timers {timersEarly} then {clock.Timers}; "
            + $"heap {bytesEarly >> 10} then {Memory() >> 10} KiB; descriptors {descriptorsEarly} then {Descriptors()}; {_log.All.Count()} log lines"));
        Assert.Equal(buffer.LastCommittedId, summary.Unique);
        Assert.Equal(0, summary.Lost);
        Assert.Equal(summary.Duplicates, summary.DuplicatesExplained);
        Assert.True(summary.Unique > Hours * 3600 / 6, $"{summary.Unique} readings");
        Assert.True(cuts > Hours && counters.Connects > cuts);
        Assert.True(counters.Renewals >= 1, "no token was renewed");
        Assert.True(counters.MethodCalls >= Hours * 2, $"{counters.MethodCalls} methods");
        await Until.True(() => connection.OpenRequests == 0);
        Assert.InRange(clock.Timers, 0, timersEarly + 5);
        await host.StopAsync(Token);
        LogLine.Check(_log.All);

        // What the rest of the test run holds is in the same heap.
        if (Hours < 10) return;
        Assert.InRange(Memory() - bytesEarly, long.MinValue, 4 << 20);
        Assert.InRange(Descriptors(), 0, descriptorsEarly + 2);
    }

    /// <summary>Waits until what the step has begun is done: no connection is being made, and nothing is under way.</summary>
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

    /// <summary>The twin changes, and a method asks how things are.</summary>
    static async Task TalkAsync(HubWorld world, int batchSize)
    {
        world.Twin.PatchDesired(new JsonObject { ["batchSize"] = batchSize });
        var answer = await world.Hub.Methods.InvokeAsync("getStatus", new JsonObject(), TimeSpan.FromSeconds(60), Token);
        Assert.Equal(200, answer.Status);
    }

    static long Memory() => GC.GetTotalMemory(forceFullCollection: true);

    static int Descriptors() => Directory.GetFiles("/proc/self/fd").Length;

    IHost Build(HubWorld world, TelemetryBuffer buffer, TimeProvider clock)
    {
        var boot = BootOptions.Read(new ConfigurationBuilder().AddInMemoryCollection(new Dictionary<string, string?>
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
        }).Build());
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        var services = builder.Services;
        services.AddSingleton(_log.Factory());
        services.AddSingleton(boot).AddSingleton(clock).AddSingleton(new LogLevelSwitch(boot.LogLevel)).AddSingleton(buffer);
        services.AddTransient(_ => new Random(1));
        services.AddSingleton(boot.Sensors).AddSingleton<SensorFactory>().AddSingleton<SensorScheduler>();
        services.AddSingleton(new BatchEncoder(boot.DeviceId, boot.ModuleId, () => buffer.Epoch));
        services.AddSingleton(boot.Identity!).AddSingleton(boot.Hub).AddSingleton<EdgeHubConnection>();
        services.AddSingleton<IEdgeHubClient>(provider => provider.GetRequiredService<EdgeHubConnection>());
        services.AddSingleton<IReadOnlyDictionary<SinkKind, ISink>>(provider =>
            new Dictionary<SinkKind, ISink> { [SinkKind.IotHub] = new IotHubSink(provider.GetRequiredService<IEdgeHubClient>()) });
        services.AddSingleton<Forwarder>();
        services.AddSingleton<SensorsParser>().AddSingleton<SettingsApplier>().AddSingleton<SettingsStore>();
        services.AddSingleton(provider => new SettingsParser(
            Settings.Defaults(boot), hasIdentity: true, provider.GetRequiredService<SensorsParser>(), boot.Http));
        services.AddSingleton<SettingsFile>().AddSingleton<Trends>().AddSingleton<LinkReport>().AddSingleton<StatusWriter>().AddSingleton<DirectMethods>();
        services.AddSingleton<ReportedProperties>().AddSingleton<TwinSynchronizer>();
        services.AddSingleton<StatusReporter>().AddSingleton<HubHandler>();
        services.AddHostedService(provider => provider.GetRequiredService<ReportedProperties>());
        services.AddHostedService(provider => provider.GetRequiredService<TwinSynchronizer>());
        services.AddHostedService(provider => provider.GetRequiredService<StatusReporter>());
        services.AddHostedService(provider =>
        {
            var connection = provider.GetRequiredService<EdgeHubConnection>();
            connection.Handler = provider.GetRequiredService<HubHandler>();
            return connection;
        });
        services.AddHostedService(provider => provider.GetRequiredService<Forwarder>());
        services.AddHostedService(provider => provider.GetRequiredService<SensorScheduler>());
        services.AddHostedService(provider => provider.GetRequiredService<SettingsFile>());
        return builder.Build();
    }
}
