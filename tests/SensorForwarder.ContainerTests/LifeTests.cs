using DotNet.Testcontainers.Containers;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;

namespace SensorForwarder.ContainerTests;

/// <summary>No reading is lost when a container is killed, paused, disconnected, stopped, removed or out of disk
/// space.</summary>
public sealed class LifeTests(ModuleImage image, ITestOutputHelper output)
{
    static JsonObject Desired(int sensors = 4, double intervalSeconds = 0.05) => new()
    {
        ["uploadIntervalSeconds"] = 1,
        ["commitIntervalMs"] = 100,
        ["sensors"] = new JsonObject(Enumerable.Range(0, sensors).Select(i => KeyValuePair.Create<string, JsonNode?>(
            $"s{i}", new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = intervalSeconds }))),
    };

    public static TheoryData<string> Disturbances { get; } = ["kill", "pause", "network", "stop"];

    [Theory, MemberData(nameof(Disturbances))]
    public async Task Every_reading_arrives_after_a_kill_pause_network_loss_or_stop_of_the_container(string disturbance)
    {
        image.Require();
        await using var world = await World.StartAsync(Desired());
        var module = await world.StartModuleAsync(await world.CreateVolumeAsync());
        var before = await World.UntilCommittedAsync(module, 200);
        await DisturbAsync(world, module, disturbance);
        var after = await World.UntilCommittedAsync(module, (long)before["lastCommittedId"]! + 200);

        // Each start of the module begins a new epoch and continues the ids.
        Assert.Equal(disturbance is "pause" or "network", (string)before["epoch"]! == (string)after["epoch"]!);
        await AssertAllArrivedAsync(world);
    }

    [Fact]
    public async Task Unsent_readings_survive_the_removal_of_the_container()
    {
        image.Require();
        await using var world = await World.StartAsync(Desired());
        var volume = await world.CreateVolumeAsync();
        // The first module cannot reach the simulator, so only the second can deliver its readings.
        var first = await world.StartModuleAsync(volume, new Dictionary<string, string> { ["IOTEDGE_GATEWAYHOSTNAME"] = "nowhere.invalid" });
        var before = await World.UntilCommittedAsync(first, 3);
        await world.RemoveAsync(first);

        var second = await world.StartModuleAsync(volume);
        var after = await World.UntilAsync(second, "the queue is sent", status => (long)status["readingsAccepted"]! >= (long)before["lastCommittedId"]!);
        Assert.NotEqual((string)before["epoch"]!, (string)after["epoch"]!);
        var report = await AssertAllArrivedAsync(world);
        Assert.True((long)report["unique"]! >= (long)before["lastCommittedId"]!);
    }

    [Fact]
    public async Task The_module_stops_gracefully_within_ten_seconds()
    {
        image.Require();
        await using var world = await World.StartAsync(Desired());
        var module = await world.StartModuleAsync(await world.CreateVolumeAsync());
        await World.UntilCommittedAsync(module, 100);
        await Docker.RunAsync("stop", "--time", "10", module.Id);
        // The exit code would be 137 after a SIGKILL at the end of the grace period.
        Assert.Equal(0, await module.GetExitCodeAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_full_volume_loses_no_reading()
    {
        image.Require();
        await using var world = await World.StartAsync(Desired(sensors: 10, intervalSeconds: 0.01));
        var volume = await world.CreateVolumeAsync("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=4m,uid=1654,mode=700");
        var module = await world.StartModuleAsync(volume);
        await World.UntilCommittedAsync(module, 100);
        await world.DisconnectAsync(module);

        // Another file takes all remaining space.
        await module.ExecAsync(["sh", "-c", "head -c 8388608 /dev/zero > /data/ballast"], TestContext.Current.CancellationToken);
        await UntilLoggedAsync(module, "Buffer storage is");
        await world.ConnectAsync(module);
        await UntilLoggedAsync(module, "Buffer storage is writable again");
        await World.UntilAsync(module, "the backlog is sent", status => (long)status["queueDepth"]! < 2000);
        await AssertAllArrivedAsync(world);
    }

    [Fact]
    public async Task A_large_backlog_drains_within_the_memory_limit()
    {
        var backlog = Environment.GetEnvironmentVariable("TEST_TIER") == "deep" ? 1_000_000 : 300_000;
        const long LimitBytes = 128L << 20;
        image.Require();
        await using var world = await World.StartAsync(new JsonObject { ["batchSize"] = 500, ["sensors"] = new JsonObject() });
        var volume = await world.CreateVolumeAsync();
        var folder = (await Docker.RunAsync("volume", "inspect", "--format", "{{.Mountpoint}}", volume)).Trim();
        await FillAsync(folder, backlog);
        await Docker.RunAsync("run", "--rm", "--user", "0", "-v", $"{volume}:/data", "--entrypoint", "chown", ModuleImage.Name, "-R", "1654:1654", "/data");
        var module = await world.StartModuleAsync(volume, configure: builder => builder.WithCreateParameterModifier(parameters =>
        {
            parameters.HostConfig!.Memory = LimitBytes;
            parameters.HostConfig.MemorySwap = LimitBytes;
        }));
        await World.UntilAsync(module, "the backlog is sent", status => (long)status["queueDepth"]! == 0 && (long)status["readingsAccepted"]! >= backlog);
        Assert.Equal("false 0", (await Docker.RunAsync("inspect", "--format", "{{.State.OOMKilled}} {{.RestartCount}}", module.Id)).Trim());
        var resident = (await module.ExecAsync(["grep", "VmHWM", "/proc/1/status"], TestContext.Current.CancellationToken)).Stdout;
        output.WriteLine($"a drain of {backlog:N0} readings: {resident.Trim()} of {LimitBytes >> 20} MB");
        var report = await AssertAllArrivedAsync(world);
        Assert.True((long)report["unique"]! >= backlog, report.ToJsonString());
    }

    static async Task DisturbAsync(World world, IContainer module, string disturbance)
    {
        switch (disturbance)
        {
            case "kill":
                await Docker.RunAsync("kill", module.Id);
                await module.StartAsync(TestContext.Current.CancellationToken);
                break;
            case "stop":
                await module.StopAsync(TestContext.Current.CancellationToken);
                await module.StartAsync(TestContext.Current.CancellationToken);
                break;
            case "pause":
                await module.PauseAsync(TestContext.Current.CancellationToken);
                await Task.Delay(TimeSpan.FromSeconds(5), TimeProvider.System, TestContext.Current.CancellationToken);
                await module.UnpauseAsync(TestContext.Current.CancellationToken);
                break;
            case "network":
                await world.DisconnectAsync(module);
                await Task.Delay(TimeSpan.FromSeconds(5), TimeProvider.System, TestContext.Current.CancellationToken);
                await world.ConnectAsync(module);
                break;
        }
    }

    static async Task UntilLoggedAsync(IContainer module, string text)
    {
        using var timeout = new CancellationTokenSource(World.Timeout);
        while (true)
        {
            var (standardOutput, _) = await module.GetLogsAsync(ct: TestContext.Current.CancellationToken);
            if (standardOutput.Contains(text, StringComparison.Ordinal)) return;
            Assert.False(timeout.IsCancellationRequested, $"'{text}' was not logged. {await World.LogEndAsync(module)}");
            await Task.Delay(TimeSpan.FromSeconds(0.5), TimeProvider.System, TestContext.Current.CancellationToken);
        }
    }

    static async Task<JsonObject> AssertAllArrivedAsync(World world)
    {
        var report = await world.VerdictAsync();
        Assert.True((string)report["exitReason"]! == "complete" && (long)report["lost"]! == 0, report.ToJsonString());
        return report;
    }

    static async Task FillAsync(string folder, int readings)
    {
        await using var buffer = await TelemetryBuffer.OpenAsync(
            new BufferOptions { Directory = folder }, TimeProvider.System, Microsoft.Extensions.Logging.Abstractions.NullLogger<TelemetryBuffer>.Instance,
            TestContext.Current.CancellationToken);
        foreach (var part in Enumerable.Range(0, readings).Chunk(5000))
        {
            await Task.WhenAll(part.Select(i => buffer.EnqueueAsync(
                new Reading { Sensor = "s", Kind = "simulated", Time = TimeProvider.System.GetUtcNow(), Values = [new("temperature", i)] },
                TestContext.Current.CancellationToken).AsTask()));
        }
    }
}
