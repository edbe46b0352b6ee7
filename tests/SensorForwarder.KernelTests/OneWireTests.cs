namespace SensorForwarder.KernelTests;

/// <summary>A DS18B20, read through the kernel's w1_therm.</summary>
public sealed class OneWireTests(Machine machine)
{
    [Fact]
    public async Task A_thermometer_survives_power_loss_a_true_85_bad_checksums_and_unplugging()
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
}
