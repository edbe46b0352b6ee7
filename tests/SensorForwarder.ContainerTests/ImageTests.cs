using System.Diagnostics;
using System.Globalization;

namespace SensorForwarder.ContainerTests;

/// <summary>The content of the image and the rights of its process.</summary>
public sealed class ImageTests(ModuleImage image, ITestOutputHelper output)
{
    static JsonObject Quiet => new() { ["sensors"] = new JsonObject { ["a"] = new JsonObject { ["kind"] = "simulated" } } };

    [Fact]
    public async Task The_image_contains_the_module_and_its_bill_of_materials()
    {
        image.Require();
        var files = await Docker.RunAsync("run", "--rm", "--entrypoint", "ls", ModuleImage.Name, "/app");
        Assert.Equal(["SensorForwarder", "THIRD-PARTY-NOTICES", "appsettings.json", "libSystem.IO.Ports.Native.so", "libe_sqlite3.so", "sbom.cdx.json"], files.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal));
        var bill = JsonNode.Parse(await Docker.RunAsync("run", "--rm", "--entrypoint", "cat", ModuleImage.Name, "/app/sbom.cdx.json"))!;
        Assert.Equal("CycloneDX", (string)bill["bomFormat"]!);
        Assert.Contains(bill["components"]!.AsArray(), component => (string)component!["name"]! == "MQTTnet");
        var labels = await Docker.RunAsync("image", "inspect", "--format", "{{json .Config.Labels}}", ModuleImage.Name);
        Assert.Equal("MIT", (string)JsonNode.Parse(labels)!["org.opencontainers.image.licenses"]!);
        output.WriteLine($"image.megabytes {(await ModuleImage.MegabytesAsync(ModuleImage.Name)).ToString("0.0", CultureInfo.InvariantCulture)}");
    }

    [Fact]
    public async Task The_module_runs_without_root_and_can_write_only_to_its_volume()
    {
        image.Require();
        await using var world = await World.StartAsync(Quiet);
        var module = await world.StartModuleAsync(await world.CreateVolumeAsync());
        await World.UntilCommittedAsync(module, 1);
        var status = (await module.ExecAsync(["cat", "/proc/1/status"], TestContext.Current.CancellationToken)).Stdout;
        Assert.Contains("Uid:\t1654\t1654\t1654\t1654", status, StringComparison.Ordinal);
        Assert.Contains("CapEff:\t0000000000000000", status, StringComparison.Ordinal);
        Assert.Contains("NoNewPrivs:\t1", status, StringComparison.Ordinal);
        Assert.NotEqual(0, (await module.ExecAsync(["touch", "/app/x"], TestContext.Current.CancellationToken)).ExitCode);
        Assert.Equal(0, (await module.ExecAsync(["touch", "/data/x"], TestContext.Current.CancellationToken)).ExitCode);
        Assert.Contains("-rw-------", (await module.ExecAsync(["ls", "-l", "/data/telemetry.db"], TestContext.Current.CancellationToken)).Stdout, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_arm64_image_delivers_all_readings_under_emulation()
    {
        const string Name = "sensorforwarder-tests/module-arm64";
        image.Require();
        Assert.SkipUnless(Environment.GetEnvironmentVariable("TEST_ARM64") == "1", "cross-compiling takes minutes: TEST_ARM64=1 runs it");
        await ModuleImage.BuildAsync("arm64v8", Name, "--build-arg", $"RUNTIME_IMAGE={Docker.RuntimeImage}-arm64");
        Assert.Equal("arm64", (await Docker.RunAsync("image", "inspect", "--format", "{{.Architecture}}", Name)).Trim());
        var root = Directory.CreateTempSubdirectory("sensorforwarder-arm64-");
        var container = (await Docker.RunAsync("create", Name)).Trim();
        try
        {
            await Docker.RunAsync("cp", $"{container}:/.", root.FullName);
            // Docker writes this file when a container starts; this container is never started.
            await File.WriteAllTextAsync(Path.Combine(root.FullName, "etc/hosts"), "127.0.0.1 localhost\n", TestContext.Current.CancellationToken);
            // A script for the simulator's --module that runs the module in the emulator.
            var start = Path.Combine(root.FullName, "start");
            await File.WriteAllTextAsync(
                start, $"#!/bin/sh\nexec qemu-aarch64-static -L {root.FullName} {root.FullName}/app/SensorForwarder\n", TestContext.Current.CancellationToken);
            File.SetUnixFileMode(start, (UnixFileMode)0b111_101_101);
            var report = Path.Combine(root.FullName, "report.json");
            using var simulator = Process.Start(
                Path.Combine(Docker.SimulatorFolder, "EdgeSimulator"), ["--module", start, "--duration", "30", "--report", report]);
            await simulator.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(World.Timeout, TestContext.Current.CancellationToken);
            var account = JsonNode.Parse(await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken))!;
            Assert.True(simulator.ExitCode == 0 && (long)account["unique"]! > 0 && (long)account["lost"]! == 0, account.ToJsonString());
        }
        finally
        {
            await Docker.RunAsync("rm", container);
            root.Delete(recursive: true);
        }
    }
}
