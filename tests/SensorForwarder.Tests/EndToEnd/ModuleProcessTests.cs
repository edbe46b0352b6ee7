using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module as a process that is started by hand, with common mistakes and faults.</summary>
public sealed class ModuleProcessTests : IDisposable
{
    const string FastSensors =
        """{"batchSize":5,"uploadIntervalSeconds":0.2,"commitIntervalMs":50,"sensors":{"a":{"kind":"simulated","intervalSeconds":0.05}}}""";

    readonly string _directory = Directory.CreateTempSubdirectory("module-").FullName;

    string Data => Path.Combine(_directory, "data");

    string SettingsPath => Path.Combine(_directory, "settings.json");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    ChildProcess Start(params (string, string)[] environment) => ChildProcess.StartModule(
        [("Buffer__Directory", Data), ("Web__Port", "0"), ("Settings__File", SettingsPath), .. environment]);

    static async Task<Receiver> ReceiverAsync(List<JsonElement> batches) => await Receiver.StartAsync(async context =>
    {
        using var json = await JsonDocument.ParseAsync(context.Request.Body);
        lock (batches) batches.Add(json.RootElement.Clone());
    });

    string Database => Path.Combine(Data, "telemetry.db");

    static int Count(List<JsonElement> batches)
    {
        lock (batches) return batches.Count;
    }

    [Fact]
    public async Task A_malformed_boot_value_ends_the_start_with_one_log_line_that_names_it()
    {
        await using var module = Start(("Http__Authorization", "Bearer of\na line break"));
        Assert.Equal(78, await module.ExitCodeAsync());
        var line = Assert.Single(module.Lines);
        Assert.StartsWith("<2>", line, StringComparison.Ordinal);
        Assert.Contains("Http__Authorization", line, StringComparison.Ordinal);
        Assert.DoesNotContain("Bearer", line, StringComparison.Ordinal);
    }

    [Fact(Explicit = true)]
    public async Task Batches_reach_a_minimal_receiver_and_a_web_port_in_use_is_named_in_the_log()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        var batches = new List<JsonElement>();
        await using var receiver = await ReceiverAsync(batches);
        await File.WriteAllTextAsync(SettingsPath, FastSensors, TestContext.Current.CancellationToken);
        await using var module = Start(
            ("Http__Endpoint", receiver.Url.ToString()), ("Device__Id", "pi-7"), ("Web__Port", $"{port}"));
        Assert.Contains($"Web__Port: {port}", await module.LineAsync("can't be used"), StringComparison.Ordinal);
        await Until.True(() => Count(batches) >= 10);
        Assert.Equal(0, await module.StopAsync());

        var ids = new List<long>();
        foreach (var batch in batches)
        {
            Assert.Equal("pi-7", batch.GetProperty("device").GetString());
            Assert.Equal("SensorForwarder", batch.GetProperty("module").GetString());
            foreach (var entry in batch.GetProperty("batch").EnumerateArray())
            {
                ids.Add(entry.GetProperty("id").GetInt64());
                Assert.Equal("a", entry.GetProperty("data").GetProperty("sensor").GetString());
            }
        }

        Assert.Equal(Enumerable.Range(1, ids.Count).Select(n => (long)n), ids);
    }

    [Fact]
    public async Task Readings_stay_in_a_readable_file_while_the_receiver_is_down_and_then_arrive_in_order()
    {
        await File.WriteAllTextAsync(SettingsPath, FastSensors, TestContext.Current.CancellationToken);
        await using var module = Start(("Http__Endpoint", "http://127.0.0.1:9/"));
        await module.LineAsync("did not accept batch");

        await Until.True(() => StoredLines.Read(Database).Count >= 3);
        Assert.All(StoredLines.Read(Database).Take(3).Index(), reading =>
        {
            Assert.Equal(reading.Index + 1, reading.Item.Id);
            Assert.Contains("\"sensor\":\"a\"", reading.Item.Json, StringComparison.Ordinal);
        });

        var batches = new List<JsonElement>();
        await using var receiver = await ReceiverAsync(batches);
        await File.WriteAllTextAsync(
            SettingsPath, FastSensors.Replace("{\"batch", $"{{\"httpEndpoint\":\"{receiver.Url}\",\"batch", StringComparison.Ordinal),
            TestContext.Current.CancellationToken);
        await Until.True(() => Count(batches) >= 5);
        Assert.Equal(1, batches[0].GetProperty("batch")[0].GetProperty("id").GetInt64());
    }

    [Fact(Explicit = true)]
    public async Task A_broken_settings_file_is_ignored_with_a_reason_and_applied_once_it_is_repaired()
    {
        await File.WriteAllTextAsync(SettingsPath, "{\"sensors\":{\"a\"", TestContext.Current.CancellationToken);
        await using var module = Start();
        Assert.Contains(SettingsPath, await module.LineAsync("is ignored"), StringComparison.Ordinal);
        await module.LineAsync("Sensor host (host)");

        // Replaced by a new file, as an editor does it.
        await File.WriteAllTextAsync(SettingsPath + ".new", FastSensors, TestContext.Current.CancellationToken);
        File.Move(SettingsPath + ".new", SettingsPath, overwrite: true);
        await module.LineAsync("Sensor a (simulated)");

        // Replaced by a symbolic link, as Kubernetes does it.
        var first = Directory.CreateDirectory(Path.Combine(_directory, "v1")).FullName;
        await File.WriteAllTextAsync(Path.Combine(first, "s.json"), """{"sensors":{"b":{"kind":"simulated"}}}""", TestContext.Current.CancellationToken);
        File.Delete(SettingsPath);
        File.CreateSymbolicLink(SettingsPath, Path.Combine(first, "s.json"));
        await module.LineAsync("Sensor b (simulated)");
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact(Explicit = true)]
    public async Task A_missing_workload_socket_is_named_in_the_log_and_readings_are_kept()
    {
        var socket = Path.Combine(_directory, "workload.sock");
        await using var module = Start(
            ("IOTEDGE_WORKLOADURI", $"unix://{socket}"), ("IOTEDGE_DEVICEID", "pi"), ("IOTEDGE_MODULEID", "m"),
            ("IOTEDGE_IOTHUBHOSTNAME", "hub.azure-devices.net"), ("IOTEDGE_GATEWAYHOSTNAME", "localhost"),
            ("IOTEDGE_AUTHSCHEME", "sasToken"), ("IOTEDGE_MODULEGENERATIONID", "1"));
        Assert.Contains("no such socket", await module.LineAsync(socket), StringComparison.Ordinal);
        await Until.True(() => StoredLines.Read(Database).Count > 0);
        Assert.Equal(0, await module.StopAsync());
        Assert.DoesNotContain("Stopped; 0 readings", module.Lines[^1], StringComparison.Ordinal);
    }
}
