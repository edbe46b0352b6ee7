using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

public sealed class HostSensorTests
{
    static async Task<Dictionary<string, double>> MeasureAsync(HostSensor sensor) =>
        new((await sensor.MeasureAsync(TestContext.Current.CancellationToken)).Values);

    [Fact]
    public async Task Load_memory_disk_network_and_uptime_of_this_machine_are_measured()
    {
        using var sensor = new HostSensor(new("/proc", "/sys", Path.GetTempPath()));
        var values = await MeasureAsync(sensor);
        Assert.InRange(values["cpuPercent"], 0, 100);
        Assert.InRange(values["memoryUsedPercent"], 0.1, 100);
        Assert.InRange(values["memoryAvailableBytes"], 1, double.MaxValue);
        Assert.InRange(values["diskUsedPercent"], 0, 100);
        Assert.InRange(values["diskFreeBytes"], 0, double.MaxValue);
        Assert.InRange(values["load1"], 0, double.MaxValue);
        Assert.InRange(values["uptimeSeconds"], 1, double.MaxValue);
        Assert.True(values["networkReceivedBytes"] >= 0 && values["networkSentBytes"] >= 0);
    }

    [Fact]
    public async Task Host_values_are_computed_from_the_kernels_files()
    {
        using var fixture = new SensorFixture();
        fixture.Write("proc/stat", "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3 4\n");
        fixture.Write("proc/loadavg", "0.52 0.58 0.59 1/389 12345\n");
        fixture.Write("proc/meminfo", "MemTotal:        1000 kB\nMemFree:  10 kB\nMemAvailable:    250 kB\n");
        fixture.Write("proc/uptime", "350735.47 234388.90\n");
        fixture.Write("proc/net/dev",
            "Inter-|   Receive                                                |  Transmit\n"
            + " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
            + "    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n"
            + "  eth0: 1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n"
            + " wlan0:30 1 0 0 0 0 0 0 40 1 0 0 0 0 0 0\n");
        fixture.Write("sys/class/thermal/thermal_zone0/temp", "48312\n");
        using var sensor = new HostSensor(fixture.Roots);

        var values = await MeasureAsync(sensor);
        Assert.Equal(20, values["cpuPercent"]); // 200 of 1000 since boot
        Assert.Equal(0.52, values["load1"]);
        Assert.Equal(75, values["memoryUsedPercent"]);
        Assert.Equal(256_000, values["memoryAvailableBytes"]);
        Assert.Equal(1030, values["networkReceivedBytes"]);
        Assert.Equal(2040, values["networkSentBytes"]);
        Assert.Equal(48.3, values["temperature"]);
        Assert.Equal(350735.47, values["uptimeSeconds"]);

        fixture.Write("proc/stat", "cpu  190 0 100 710 100 0 0 0 0 0\n");
        Assert.Equal(90, (await MeasureAsync(sensor))["cpuPercent"]); // 90 of 100 since the last reading
    }

    [Theory]
    [InlineData("")]
    [InlineData("cpu")]
    [InlineData("cpu a b c d e f g h")]
    [InlineData("cpu 99999999999999999999 0 0 0 0 0 0 0")]
    public async Task A_malformed_file_omits_only_its_own_values(string stat)
    {
        using var fixture = new SensorFixture();
        fixture.Write("proc/stat", stat);
        fixture.Write("proc/loadavg", "0.5 0 0 1/1 1");
        using var sensor = new HostSensor(fixture.Roots);
        var values = await MeasureAsync(sensor);
        Assert.DoesNotContain("cpuPercent", values.Keys);
        Assert.DoesNotContain("temperature", values.Keys);
        Assert.Equal(0.5, values["load1"]);
    }

    [Theory]
    [InlineData("nan 0.58 0.59 1/389 12345", "1e999 5")]
    [InlineData("inf 0.58 0.59 1/389 12345", "NaN 5")]
    public async Task A_host_value_that_is_not_a_finite_number_is_omitted(string load, string uptime)
    {
        using var fixture = new SensorFixture();
        fixture.Write("proc/loadavg", load);
        fixture.Write("proc/uptime", uptime);
        fixture.Write("proc/meminfo", "MemTotal:        1000 kB\n"); // As before Linux 3.14, without MemAvailable.
        fixture.Write("sys/class/thermal/thermal_zone0/temp", "48312\n");
        using var sensor = new HostSensor(fixture.Roots with { DataDirectory = "/proc" }); // A file system of size 0.
        var values = await MeasureAsync(sensor);
        Assert.Equal(["diskFreeBytes", "temperature"], values.Keys.Order());
    }
}
