namespace SensorForwarder.KernelTests;

/// <summary>Chips on /dev/i2c-1, read by the module's own drivers and by the kernel's.</summary>
public sealed class I2cTests(Machine machine) : IAsyncLifetime
{
    static JsonObject Every(double seconds, JsonObject sensor)
    {
        sensor["intervalSeconds"] = seconds;
        return sensor;
    }

    public async ValueTask InitializeAsync()
    {
        machine.Require();
        await ResetAsync();
    }

    // Removes all faults, since other tests use the same bus.
    async Task ResetAsync()
    {
        foreach (var chip in (string[])["76", "77", "44", "45"])
        {
            await machine.SetAsync($"sim_i2c/{chip}/present", 1);
            await machine.SetAsync($"sim_i2c/{chip}/bad_crc", 0);
        }

        await machine.SetAsync("sim_i2c/fail_next", 0);
        await machine.SetAsync("sim_i2c/error", 121);
    }

    public async ValueTask DisposeAsync()
    {
        await ResetAsync();
        await machine.RunAsync("cd /sys/bus/i2c/devices/i2c-1; for chip in 0x77 0x45; do echo $chip > delete_device; done 2>/dev/null; cd /");
    }

    Task<string> BindAsync(string driver, string address) => machine.RunAsync($"echo {driver} {address} > /sys/bus/i2c/devices/i2c-1/new_device");

    Task<string> UnbindAsync(string address) => machine.RunAsync($"echo {address} > /sys/bus/i2c/devices/i2c-1/delete_device");

    [Fact]
    public async Task The_modules_own_drivers_survive_faults_and_unplugging()
    {
        await using var module = await ModuleRun.StartAsync(machine, new()
        {
            ["bosch"] = Every(0.2, new() { ["kind"] = "bme280", ["address"] = "0x76" }),
            ["sensirion"] = Every(0.2, new() { ["kind"] = "sht3x", ["address"] = "0x44" }),
        });
        await module.UntilSensorAsync("bosch", "Working");
        await module.UntilSensorAsync("sensirion", "Working");

        // A single failed transfer is retried and does not show in the readings.
        for (var i = 0; i < 3; i++)
        {
            await machine.SetAsync("sim_i2c/fail_next", 1);
            await module.UntilMoreAsync("bosch", 2);
        }

        Assert.Equal("0", await machine.RunAsync("cat /sys/kernel/debug/sim_i2c/fail_next"));

        await machine.SetAsync("sim_i2c/44/bad_crc", 1_000_000);
        await module.UntilSensorAsync("sensirion", "Failing", "crc");
        await machine.SetAsync("sim_i2c/44/bad_crc", 0);
        await module.UntilSensorAsync("sensirion", "Working");

        // An unplugged chip does not respond. When plugged in again, it has lost its registers and measures another
        // value.
        await machine.SetAsync("sim_i2c/76/present", 0);
        await module.UntilSensorAsync("bosch", "Failing", "io");
        await module.UntilMoreAsync("sensirion", 3);
        await machine.SetAsync("sim_i2c/76/humidity", 35000);
        await machine.SetAsync("sim_i2c/76/present", 1);
        await module.UntilSensorAsync("bosch", "Working");
        await module.UntilMoreAsync("bosch", 3);

        var readings = await module.StopAsync();
        await machine.SetAsync("sim_i2c/76/humidity", 30000);
        var bosch = readings.Of("bosch");
        Assert.Equal(["", "io", ""], bosch.Story());
        Assert.Equal((25.08, 1006.533, 55.0), (bosch[0].Value("temperature"), bosch[0].Value("pressure"), bosch[0].Value("humidity")));
        Assert.Equal(82.69, bosch[^1].Value("humidity"));
        Assert.All(bosch.Good(), reading => Assert.Equal(25.08, reading.Value("temperature")));
        Assert.All(bosch.Where(reading => reading.Reason() == "io"), reading => Assert.Empty(reading["values"]!.AsObject()));
        var sensirion = readings.Of("sensirion");
        Assert.Equal(["", "crc", ""], sensirion.Story());
        Assert.All(sensirion.Good(), reading => Assert.Equal((25, 50), (reading.Value("temperature"), reading.Value("humidity"))));
    }

    [Fact]
    public async Task A_bus_that_times_out_is_only_probed()
    {
        await machine.SetAsync("sim_i2c/error", 110);
        await machine.SetAsync("sim_i2c/fail_next", 1_000_000);
        await using var module = await ModuleRun.StartAsync(machine, new() { ["bosch"] = Every(0.1, new() { ["kind"] = "bme280" }) });
        await module.UntilSensorAsync("bosch", "Failing", "bus-timeout");
        await module.UntilAsync("many turns", status => (long)status["sensors"]!["bosch"]!["failures"]! >= 30);
        var left = int.Parse(await machine.RunAsync("cat /sys/kernel/debug/sim_i2c/fail_next"), System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(1_000_000 - left, 2, 10); // Far fewer transfers than the 30 scheduled readings.
        await module.StopAsync();
    }

    [Fact]
    public async Task Kernel_drivers_are_read_by_name_and_the_modules_own_drivers_refuse_their_chips()
    {
        await using var module = await ModuleRun.StartAsync(machine, new()
        {
            ["iio"] = Every(1, new() { ["kind"] = "iio", ["device"] = "bme280", ["parent"] = "1-0077" }),
            ["hwmon"] = Every(1, new() { ["kind"] = "hwmon", ["device"] = "sht3x", ["parent"] = "1-0045" }),
            ["own"] = Every(1, new() { ["kind"] = "bme280", ["address"] = "0x77" }),
        });

        // No kernel driver is bound yet: the chip is free, and iio and hwmon have no device.
        await module.UntilSensorAsync("iio", "Failing", "absent");
        await module.UntilSensorAsync("hwmon", "Failing", "absent");
        await module.UntilSensorAsync("own", "Working");

        await BindAsync("bme280", "0x77");
        await BindAsync("sht3x", "0x45");
        await module.UntilSensorAsync("iio", "Working");
        await module.UntilSensorAsync("hwmon", "Working");
        await UnbindAsync("0x77");
        await module.UntilSensorAsync("iio", "Failing", "absent");
        await BindAsync("bme280", "0x77");
        await module.UntilSensorAsync("iio", "Working");
        await machine.SetAsync("sim_i2c/45/present", 0);
        await module.UntilSensorAsync("hwmon", "Failing", "io");
        await machine.SetAsync("sim_i2c/45/present", 1);
        await module.UntilSensorAsync("hwmon", "Working");
        var readings = await module.StopAsync();

        // A change between the reads of two channels makes a partial reading, and so may the sensor "own": it opened
        // the chip before the kernel did, and both write its registers.
        readings.RemoveAll(reading => reading.Reason() == "partial");
        var iio = readings.Of("iio");
        Assert.Equal(["absent", "", "absent", ""], iio.Story());
        Assert.Equal(25.08, iio.Good()[^1].Value("temperature"));
        Assert.Equal(1006.532539, iio.Good()[^1].Value("pressure"), 3);
        Assert.Equal(54.997, iio.Good()[^1].Value("humidity"), 2);
        var hwmon = readings.Of("hwmon");
        Assert.Equal(["absent", "", "io", ""], hwmon.Story());
        Assert.Equal(25, hwmon.Good()[^1].Value("temperature"), 2);
        Assert.Equal(50, hwmon.Good()[^1].Value("humidity"), 2);

        // A module started after the kernel driver was bound reports the conflict.
        await using var late = await ModuleRun.StartAsync(machine, new() { ["own"] = Every(1, new() { ["kind"] = "bme280", ["address"] = "0x77" }) });
        var status = await late.UntilSensorAsync("own", "Failing", "kernel-driver");
        Assert.Contains("use kind iio or hwmon with parent 1-0077", (string)status["sensors"]!["own"]!["detail"]!, StringComparison.Ordinal);
        await late.StopAsync();
    }
}
