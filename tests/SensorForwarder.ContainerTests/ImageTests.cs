using System.Globalization;

namespace SensorForwarder.ContainerTests;

/// <summary>The image that the Dockerfile makes, and the rights of what runs in it.</summary>
public sealed class ImageTests(ModuleImage image, ITestOutputHelper output)
{
    static JsonObject Quiet => new() { ["sensors"] = new JsonObject { ["a"] = new JsonObject { ["kind"] = "simulated" } } };

    [Fact]
    public async Task The_image_holds_the_module_and_its_bill_of_materials()
    {
        image.Require();
        var files = await Docker.RunAsync("run", "--rm", "--entrypoint", "ls", ModuleImage.Name, "/app");
        Assert.Equal(["SensorForwarder", "appsettings.json", "libe_sqlite3.so", "sbom.cdx.json"], files.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal));
        var bill = JsonNode.Parse(await Docker.RunAsync("run", "--rm", "--entrypoint", "cat", ModuleImage.Name, "/app/sbom.cdx.json"))!;
        Assert.Equal("CycloneDX", (string)bill["bomFormat"]!);
        Assert.Contains(bill["components"]!.AsArray(), component => (string)component!["name"]! == "MQTTnet");
        var labels = await Docker.RunAsync("image", "inspect", "--format", "{{json .Config.Labels}}", ModuleImage.Name);
        Assert.Equal("MIT", (string)JsonNode.Parse(labels)!["org.opencontainers.image.licenses"]!);
        output.WriteLine($"image.megabytes {(await ModuleImage.MegabytesAsync(ModuleImage.Name)).ToString("0.0", CultureInfo.InvariantCulture)}");
    }

    [Fact]
    public async Task It_runs_as_nobody_special_and_can_write_nothing_but_its_volume()
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
}
