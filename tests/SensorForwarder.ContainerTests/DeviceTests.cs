using DotNet.Testcontainers.Builders;
using DotNet.Testcontainers.Configurations;

namespace SensorForwarder.ContainerTests;

/// <summary>Access to the host's devices from the container, and the messages when access is denied.</summary>
public sealed class DeviceTests(ModuleImage image) : IDisposable
{
    readonly DirectoryInfo _host = Directory.CreateTempSubdirectory("sensorforwarder-devices-");

    [Fact]
    public async Task Kernel_sensors_are_read_from_a_read_only_bind()
    {
        image.Require();
        // Test machines have no sensor: this imitates the kernel's hwmon tree and adds a file of the real sysfs.
        var device = _host.CreateSubdirectory("sys/devices/i2c-1/1-0044/hwmon/hwmon0").FullName;
        await File.WriteAllTextAsync($"{device}/name", "sht3x\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync($"{device}/temp1_input", "21480\n", TestContext.Current.CancellationToken);
        File.CreateSymbolicLink($"{device}/device", "../../../1-0044");
        _host.CreateSubdirectory("sys/class/hwmon");
        File.CreateSymbolicLink($"{_host.FullName}/sys/class/hwmon/hwmon0", "../../devices/i2c-1/1-0044/hwmon/hwmon0");
        await using var world = await World.StartAsync(new JsonObject
        {
            ["uploadIntervalSeconds"] = 3600,
            ["sensors"] = new JsonObject
            {
                ["attic"] = new JsonObject { ["kind"] = "hwmon", ["device"] = "sht3x" },
                ["mtu"] = new JsonObject { ["kind"] = "file", ["path"] = "/sys/class/net/lo/mtu", ["value"] = "bytes" },
            },
        });

        var module = await world.StartModuleAsync(
            await world.CreateVolumeAsync(), new Dictionary<string, string> { ["Sensors__SysfsRoot"] = "/host/sys" },
            builder => builder.WithBindMount($"{_host.FullName}/sys", "/host/sys", AccessMode.ReadOnly));
        var status = await World.UntilCommittedAsync(module, 4);
        Assert.Equal(2, (int)status["sensorStates"]!["Working"]!);
        var export = await module.ExecAsync(["/app/SensorForwarder", "--export", "/data/readings.ndjson"], TestContext.Current.CancellationToken);
        Assert.True(export.ExitCode == 0, export.Stdout + export.Stderr);
        var lines = (await module.ExecAsync(["cat", "/data/readings.ndjson"], TestContext.Current.CancellationToken)).Stdout;
        Assert.Contains("\"values\":{\"temperature\":21.48}", lines, StringComparison.Ordinal);
        Assert.Contains("\"values\":{\"bytes\":65536}", lines, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_denied_device_is_reported_with_the_missing_group_and_works_with_it()
    {
        const string Group = "997";
        image.Require();
        var node = $"{_host.FullName}/i2c-7";
        await RunAsRootAsync($"mknod {node} c 89 7 && chown root:{Group} {node} && chmod 660 {node}");
        await using var world = await World.StartAsync(new JsonObject
        {
            ["sensors"] = new JsonObject { ["attic"] = new JsonObject { ["kind"] = "bme280", ["bus"] = 7, ["intervalSeconds"] = 1 } },
        });
        ContainerBuilder WithNode(ContainerBuilder builder) => builder.WithCreateParameterModifier(parameters =>
            parameters.HostConfig!.Devices = [new() { PathOnHost = node, PathInContainer = "/dev/i2c-7", CgroupPermissions = "rw" }]);

        var denied = await world.StartModuleAsync(await world.CreateVolumeAsync(), configure: WithNode);
        var status = await World.UntilAsync(denied, "the sensor fails", status => (string?)status["sensors"]?["attic"]?["state"] == "Failing");
        Assert.Equal("denied", (string)status["sensors"]!["attic"]!["reason"]!);
        Assert.Contains("--doctor says what would allow it", (string)status["sensors"]!["attic"]!["detail"]!, StringComparison.Ordinal);
        var doctor = await denied.ExecAsync(["/app/SensorForwarder", "--doctor"], TestContext.Current.CancellationToken);
        Assert.Contains($"this process is not in its group {Group}: add \"GroupAdd\":[\"{Group}\"]", doctor.Stdout, StringComparison.Ordinal);
        await world.RemoveAsync(denied);

        // Access is allowed now, and the reason is "absent", since a test machine has no such bus.
        var allowed = await world.StartModuleAsync(await world.CreateVolumeAsync(), configure: builder => WithNode(builder)
            .WithCreateParameterModifier(parameters => parameters.HostConfig!.GroupAdd = [Group]));
        status = await World.UntilAsync(allowed, "the sensor fails", status => (string?)status["sensors"]?["attic"]?["state"] == "Failing");
        Assert.Equal("absent", (string)status["sensors"]!["attic"]!["reason"]!);
    }

    public void Dispose() => _host.Delete(recursive: true);

    // In a container, since the user may have no root rights except through Docker.
    Task<string> RunAsRootAsync(string command) => Docker.RunAsync(
        "run", "--rm", "--user", "0", "-v", $"{_host.FullName}:{_host.FullName}", "--entrypoint", "sh", ModuleImage.Name, "-c", command);
}
