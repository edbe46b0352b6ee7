namespace SensorForwarder.KernelTests;

/// <summary>The output of --doctor on a machine with all simulated chips.</summary>
public sealed class DoctorTests(Machine machine, ITestOutputHelper output)
{
    [Fact]
    public async Task The_doctor_finds_all_chips_and_its_suggested_settings_work()
    {
        machine.Require();
        await machine.RunAsync("cd /sys/bus/i2c/devices/i2c-1; echo bme280 0x77 > new_device; echo sht3x 0x45 > new_device; cd /");
        try
        {
            var text = await machine.RunAsync("/app/SensorForwarder --doctor");
            output.WriteLine(text);
            foreach (var part in (string[])
                [
                    "/dev/i2c-1", "/dev/gpiochip0", "simulated I2C bus", "bus 1 0x76  bme280", "bus 1 0x44  sht3x", "(used by kernel driver bmp280)", "(used by kernel driver sht3x)",
                    "iio      bme280 at 1-0077: humidityrelative, pressure, temp", "hwmon    sht3x at 1-0045: humidity1, temp1", "w1       28-0316a2795e1f: temperature",
                    "sim_gpio (gpiochip0): 8 lines", "line 7 (RELAY): used by boiler relay",
                    "/dev/ttyS0: the kernel's console", "/dev/ttyS1: used by process ", // the shell that runs the doctor
                ])
                Assert.Contains(part, text, StringComparison.Ordinal);

            const string Title = "The setting \"sensors\"";
            var sensors = JsonNode.Parse(text[(text.IndexOf(Title, StringComparison.Ordinal) + Title.Length)..])!.AsObject();
            Assert.Equal(
                ["bme280-1-0077", "bme280-1-76", "hmc5883l-2-1e", "lis3dh-2-18", "lps22hb-2-5c", "lps25h-2-5d", "mcp9600-2-60", "sht3x-1-0045", "sht3x-1-44", "vl53l0x-2-29"],
                sensors.Select(sensor => sensor.Key).Where(name => !name.StartsWith("28-", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
            foreach (var sensor in sensors) sensor.Value!["intervalSeconds"] = 1;
            await using var module = await ModuleRun.StartAsync(machine, sensors.DeepClone().AsObject());
            foreach (var sensor in sensors) await module.UntilSensorAsync(sensor.Key, "Working");
            var readings = await module.StopAsync();
            Assert.All(sensors, sensor => Assert.NotEmpty(readings.Of(sensor.Key).Good()));
        }
        finally
        {
            await machine.RunAsync("cd /sys/bus/i2c/devices/i2c-1; echo 0x77 > delete_device; echo 0x45 > delete_device; cd /");
        }
    }

    [Fact]
    public async Task The_doctor_names_the_missing_group_to_a_user_without_rights()
    {
        machine.Require();
        await machine.RunAsync("chgrp 994 /dev/i2c-1; chmod 660 /dev/i2c-1; chgrp 993 /dev/gpiochip0; chmod 660 /dev/gpiochip0");
        var text = await machine.RunAsync("su module -c '/app/SensorForwarder --doctor'");
        foreach (var part in (string[])["This process is user 1654", "\"GroupAdd\":[\"994\"]", "\"GroupAdd\":[\"993\"]", "\"PathOnHost\": \"/dev/i2c-1\""])
            Assert.Contains(part, text, StringComparison.Ordinal);
    }
}
