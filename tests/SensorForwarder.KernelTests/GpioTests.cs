using System.Globalization;

namespace SensorForwarder.KernelTests;

/// <summary>The sensor kinds gpio and counter on a simulated GPIO chip.</summary>
public sealed class GpioTests(Machine machine, ITestOutputHelper output)
{
    const int Door = 1, Meter = 3, Other = 4;

    Task LevelAsync(int line, int level) => machine.SetAsync("sim_gpio/level", $"{line} {level}");

    Task PulseAsync(int line, int count, int microseconds = 3000) => machine.SetAsync("sim_gpio/pulse", $"{line} {count} {microseconds}");

    static JsonObject Counter(string line = "METER", double seconds = 0.5) => new() { ["kind"] = "counter", ["line"] = line, ["intervalSeconds"] = seconds };


    [Fact]
    public async Task A_contact_reports_each_edge_at_once_and_its_level_on_schedule()
    {
        machine.Require();
        await LevelAsync(Door, 0);
        await using var module = await ModuleRun.StartAsync(machine, new()
        {
            ["door"] = new JsonObject { ["kind"] = "gpio", ["line"] = "DOOR", ["chip"] = "sim_gpio", ["intervalSeconds"] = 3600 },
            ["low"] = new JsonObject { ["kind"] = "gpio", ["line"] = 0, ["activeLow"] = true, ["edges"] = "none", ["intervalSeconds"] = 0.5 },
            ["bouncing"] = new JsonObject { ["kind"] = "gpio", ["line"] = "GPIO4", ["debounceMilliseconds"] = 3000, ["intervalSeconds"] = 3600 },
            ["relay"] = new JsonObject { ["kind"] = "gpio", ["line"] = "RELAY", ["intervalSeconds"] = 0.5 },
            ["nowhere"] = new JsonObject { ["kind"] = "gpio", ["line"] = "WINDOW", ["intervalSeconds"] = 0.5 },
        });
        foreach (var sensor in (string[])["door", "low", "bouncing"]) await module.UntilSensorAsync(sensor, "Working");
        var status = await module.UntilSensorAsync("relay", "Failing", "busy");
        Assert.Contains("line 7 (RELAY) of sim_gpio is used by boiler relay", (string)status["sensors"]!["relay"]!["detail"]!, StringComparison.Ordinal);
        await module.UntilSensorAsync("nowhere", "Failing", "absent");

        for (var i = 0; i < 3; i++)
        {
            await LevelAsync(Door, 1);
            await LevelAsync(Door, 0);
        }

        // 20 bouncing pulses, then a stable level.
        await PulseAsync(Other, 20, 5000);
        await LevelAsync(Other, 1);
        await module.UntilAsync("the edges", now => (long)now["sensors"]!["door"]!["readings"]! == 7 && (long)now["sensors"]!["bouncing"]!["readings"]! == 2);
        var readings = await module.StopAsync();
        await LevelAsync(Other, 0);

        Assert.Equal([0, 1, 0, 1, 0, 1, 0], readings.Of("door").Select(reading => reading.Value("state")));
        var times = readings.Of("door").ConvertAll(reading => DateTimeOffset.Parse((string)reading["time"]!, CultureInfo.InvariantCulture));
        Assert.Equal(times.Order(), times);
        Assert.Equal([0, 1], readings.Of("bouncing").Select(reading => reading.Value("state")));
        Assert.All(readings.Of("low"), reading => Assert.Equal(1, reading.Value("state")));
    }

    [Fact]
    public async Task The_output_of_an_alarm_is_active_while_it_is_raised()
    {
        machine.Require();
        await LevelAsync(Door, 0);
        await using var module = await ModuleRun.StartAsync(machine, new()
        {
            ["door"] = new JsonObject
            {
                ["kind"] = "gpio",
                ["line"] = "DOOR",
                ["intervalSeconds"] = 3600,
                ["alarms"] = new JsonArray(
                    new JsonObject { ["value"] = "state", ["above"] = 0.5, ["output"] = new JsonObject { ["line"] = "GPIO2" } },
                    new JsonObject { ["value"] = "state", ["below"] = 0.5, ["output"] = new JsonObject { ["chip"] = "sim_gpio", ["line"] = 5, ["activeLow"] = true } }),
            },
        });

        // Line 2 is active when the door is open, and line 5 active low when it is closed; the others are inputs.
        await UntilLevelsAsync("--0--0--");
        await LevelAsync(Door, 1);
        await UntilLevelsAsync("--1--1--");
        await LevelAsync(Door, 0);
        await UntilLevelsAsync("--0--0--");
        var readings = await module.StopAsync();
        Assert.Equal(
            ["state below 0.5 raised", "state above 0.5 raised", "state below 0.5 cleared", "state above 0.5 cleared", "state below 0.5 raised"],
            readings.Where(reading => (string?)reading["kind"] == "alarm").Select(reading => $"{reading["alarm"]!["name"]} {reading["alarm"]!["state"]}"));
    }

    async Task UntilLevelsAsync(string levels)
    {
        var started = TimeProvider.System.GetTimestamp();
        string now;
        while ((now = (await machine.RunAsync("cat /sys/kernel/debug/sim_gpio/level")).Trim()) != levels)
        {
            Assert.True(TimeProvider.System.GetElapsedTime(started) < Machine.Limit, $"the lines are {now}, not {levels}");
            await Task.Delay(TimeSpan.FromMilliseconds(200), TimeProvider.System, TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public async Task A_counter_continues_after_a_kill_and_counts_overruns()
    {
        machine.Require();
        await LevelAsync(Meter, 0);
        await using var module = await ModuleRun.StartAsync(machine, new() { ["meter"] = Counter() });
        await module.UntilSensorAsync("meter", "Working");
        await PulseAsync(Meter, 40);
        await module.UntilMoreAsync("meter", 3);
        await module.KillAsync();
        await PulseAsync(Meter, 5); // Not counted: the module is not running.
        await module.StartAsync();
        await module.UntilSensorAsync("meter", "Working");
        await PulseAsync(Meter, 20);
        await module.UntilMoreAsync("meter", 3);

        // More events than the kernel queues while the process is stopped.
        await module.SignalAsync("STOP");
        await PulseAsync(Meter, 1500, 500);
        await module.SignalAsync("CONT");
        await module.UntilMoreAsync("meter", 3);
        var readings = (await module.StopAsync()).Of("meter");

        var totals = readings.ConvertAll(reading => reading.Value("total"));
        output.WriteLine(string.Join(' ', totals));
        Assert.Equal(totals.Order(), totals);
        Assert.Equal(0, totals[0]);
        Assert.Contains(40, totals);
        Assert.Contains(60, totals);
        Assert.Equal(1560, totals[^1]);
        Assert.Equal(["", "overrun", ""], readings.Story());
    }

    [Fact]
    public async Task A_chip_that_is_missing_at_start_is_found_when_it_appears()
    {
        machine.Require();
        await machine.RunAsync("echo sim_gpio > /sys/bus/platform/drivers/sim_gpio/unbind");
        await using var module = await ModuleRun.StartAsync(machine, new()
        {
            ["door"] = new JsonObject { ["kind"] = "gpio", ["line"] = "DOOR", ["intervalSeconds"] = 0.5 },
        });
        await module.UntilSensorAsync("door", "Failing", "absent");
        await machine.RunAsync("echo sim_gpio > /sys/bus/platform/drivers/sim_gpio/bind");
        await module.UntilSensorAsync("door", "Working");
        Assert.Equal(["absent", ""], (await module.StopAsync()).Story());
    }

    [Fact]
    public async Task An_edge_is_committed_at_once_without_a_commit_interval()
    {
        const int Edges = 21;
        machine.Require();
        await LevelAsync(Door, 0);
        await using var module = await ModuleRun.StartAsync(
            machine, new() { ["door"] = new JsonObject { ["kind"] = "gpio", ["line"] = "DOOR", ["intervalSeconds"] = 3600 } }, commitIntervalMs: 0);
        await module.UntilSensorAsync("door", "Working");
        var lines = await machine.RunAsync($"edge-to-commit {Door} {Edges} {module.Database}-wal");
        var milliseconds = lines.Split('\n').Select(line => double.Parse(line, CultureInfo.InvariantCulture)).Order().ToList();
        Assert.Equal(Edges, milliseconds.Count);
        Assert.Equal(Edges + 1, (await module.StopAsync()).Count);

        // Only reported, not asserted: tests do not depend on time. README.md explains the number.
        var line = new JsonObject { ["gpio.edgeToCommitMilliseconds"] = milliseconds[Edges / 2] }.ToJsonString();
        output.WriteLine(line);
        await File.WriteAllTextAsync(Path.Combine(Machine.Folder, "numbers.json"), line, TestContext.Current.CancellationToken);
    }
}
