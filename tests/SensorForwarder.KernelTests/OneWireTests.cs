namespace SensorForwarder.KernelTests;

/// <summary>A DS18B20, read through the kernel's w1_therm.</summary>
public sealed class OneWireTests(Machine machine)
{
    [Fact]
    public async Task A_thermometer_survives_power_loss_a_measured_85_degrees_bad_checksums_and_unplugging()
    {
        machine.Require();
        await using var module = await ModuleRun.StartAsync(machine, new() { ["boiler"] = new JsonObject { ["kind"] = "w1", ["intervalSeconds"] = 1 } });
        await module.UntilSensorAsync("boiler", "Working");
        await machine.SetAsync("sim_w1/raw", "0xff5e");
        await module.UntilMoreAsync("boiler", 2);

        await machine.SetAsync("sim_w1/brown_out", 1);
        await module.UntilSensorAsync("boiler", "Failing", "power-on");
        await machine.SetAsync("sim_w1/brown_out", 0);
        await machine.SetAsync("sim_w1/raw", "0x0550"); // 85 degrees, measured
        await module.UntilSensorAsync("boiler", "Working");
        await module.UntilMoreAsync("boiler", 2);

        await machine.SetAsync("sim_w1/bad_crc", 1_000_000);
        var status = await module.UntilAsync("failing", now => (string?)now["sensors"]!["boiler"]!["state"] == "Failing");
        Assert.Contains((string?)status["sensors"]!["boiler"]!["reason"], (string[])["io", "crc"]);
        await machine.SetAsync("sim_w1/bad_crc", 0);
        await module.UntilSensorAsync("boiler", "Working");

        await machine.SetAsync("sim_w1/present", 0);
        await module.UntilSensorAsync("boiler", "Failing", "absent"); // After the kernel's next search.
        await machine.SetAsync("sim_w1/raw", "0x0191");
        await machine.SetAsync("sim_w1/present", 1);
        await module.UntilSensorAsync("boiler", "Working");
        var readings = (await module.StopAsync()).Of("boiler");

        Assert.Equal([25.062, -10.125, 85, 25.062], readings.Good().Select(reading => reading.Value("temperature")).Aggregate(
            new List<double>(), (all, value) => all.Count > 0 && all[^1] == value ? all : [.. all, value]));
        Assert.Equal(["", "power-on", ""], readings.Story().Take(3));
        Assert.All(readings.Where(reading => (string?)reading["quality"] == "bad"), reading => Assert.Empty(reading["values"]!.AsObject()));
    }
    /// <summary>The kernel waits 750 ms for each conversion, so twenty conversions one after the other would take 15 s.</summary>
    [Fact]
    public async Task Twenty_thermometers_are_read_by_conversions_of_the_whole_bus()
    {
        machine.Require();
        try
        {
            await machine.SetAsync("sim_w1/raw", "0x0100");
            await machine.SetAsync("sim_w1/devices", 20);
            await DevicesAsync(20);
            var names = Enumerable.Range(0, 20).Select(i => $"28-0316a2795e{0x1F + i:x2}").ToList();
            var before = await CountAsync("bulk");
            var single = await CountAsync("single");
            await using var module = await ModuleRun.StartAsync(machine, new(names.Select(name => KeyValuePair.Create(
                name, (JsonNode?)new JsonObject { ["kind"] = "w1", ["device"] = name, ["intervalSeconds"] = 5 }))));
            await module.UntilAsync("two readings of each", now => names.All(name => (long?)now["sensors"]?[name]?["readings"] >= 2));
            var readings = await module.StopAsync();
            Assert.Equal(single, await CountAsync("single"));
            Assert.NotEqual(before, await CountAsync("bulk"));
            Assert.All(names.Index(), device => Assert.All(
                readings.Of(device.Item).Good(), reading => Assert.Equal(16.0 + device.Index, reading.Value("temperature"))));
        }
        finally
        {
            await machine.SetAsync("sim_w1/devices", 1);
            await machine.SetAsync("sim_w1/raw", "0x0191");
            await DevicesAsync(1);
        }
    }

    /// <summary>Waits until the kernel's searches have found this number of thermometers.</summary>
    async Task DevicesAsync(int count) => await machine.RunAsync($"while [ $(ls /sys/bus/w1/devices | grep -c ^28-) -ne {count} ]; do usleep 100000; done");

    async Task<int> CountAsync(string kind) =>
        int.Parse(await machine.RunAsync($"cat /sys/kernel/debug/sim_w1/{kind}_conversions"), System.Globalization.CultureInfo.InvariantCulture);
}
