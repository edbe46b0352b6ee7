using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.Data.Sqlite;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The module as a process, as somebody starts it by hand, with what goes wrong then.</summary>
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

    SqliteConnection OpenDatabase()
    {
        var database = new SqliteConnection($"Data Source={Data}/telemetry.db;Mode=ReadOnly;Pooling=False");
        database.Open();
        return database;
    }

    static int Count(List<JsonElement> batches)
    {
        lock (batches) return batches.Count;
    }

    [Theory]
    [InlineData("Web__Port", "none")]
    [InlineData("Http__Endpoint", "somewhere")]
    [InlineData("Http__Authorization", "Bearer of\na line break")]
    [InlineData("Http__Headers__Host", "elsewhere")]
    [InlineData("Http__ClientKeyFile", "/none.key")]
    [InlineData("EdgeHub__MetricsUrl", "somewhere")]
    [InlineData("EdgeHub__MetricsUrl", "htp://user:Bearer@host/metrics?key=Bearer")]
    [InlineData("OTEL_EXPORTER_OTLP_ENDPOINT", "somewhere")]
    [InlineData("RuntimeLogLevel", "loud")]
    [InlineData("EdgeHubConnectionString", "HostName=h;DeviceId=d")]
    [InlineData("IOTEDGE_WORKLOADURI", "unix:///run/none.sock")]
    public async Task A_malformed_boot_value_ends_the_start_with_one_line_that_names_it(string name, string value)
    {
        await using var module = Start((name, value));
        Assert.Equal(78, await module.ExitCodeAsync());
        var line = Assert.Single(module.Lines);
        Assert.StartsWith("<2>", line, StringComparison.Ordinal);
        Assert.Contains(name.StartsWith("IOTEDGE", StringComparison.Ordinal) ? "IOTEDGE_" : name, line, StringComparison.Ordinal);
        Assert.DoesNotContain("Bearer", line, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Batches_reach_a_receiver_that_knows_only_the_contract_and_rows_leave_the_queue()
    {
        var batches = new List<JsonElement>();
        await using var receiver = await ReceiverAsync(batches);
        await File.WriteAllTextAsync(SettingsPath, FastSensors, TestContext.Current.CancellationToken);
        await using var module = Start(("Http__Endpoint", receiver.Url.ToString()), ("Device__Id", "pi-7"));
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
    public async Task While_nobody_listens_readings_are_rows_that_anyone_can_read_and_afterwards_they_arrive_in_order()
    {
        await File.WriteAllTextAsync(SettingsPath, FastSensors, TestContext.Current.CancellationToken);
        await using var module = Start(("Http__Endpoint", "http://127.0.0.1:9/"));
        await module.LineAsync("does not take batch");

        using (var database = OpenDatabase())
        {
            using var command = database.CreateCommand();
            command.CommandText = "select count(*) from queue";
            await Until.True(() => (long)command.ExecuteScalar()! >= 3);
            command.CommandText = "select id, cast(payload as text) from queue order by id limit 3";
            using var rows = command.ExecuteReader();
            for (var id = 1; id <= 3; id++)
            {
                Assert.True(rows.Read());
                Assert.Equal(id, rows.GetInt64(0));
                Assert.Contains("\"sensor\":\"a\"", rows.GetString(1), StringComparison.Ordinal);
            }
        }

        var batches = new List<JsonElement>();
        await using var receiver = await ReceiverAsync(batches);
        await File.WriteAllTextAsync(
            SettingsPath, FastSensors.Replace("{\"batch", $"{{\"httpEndpoint\":\"{receiver.Url}\",\"batch", StringComparison.Ordinal),
            TestContext.Current.CancellationToken);
        await Until.True(() => Count(batches) >= 5);
        Assert.Equal(1, batches[0].GetProperty("batch")[0].GetProperty("id").GetInt64());
    }

    [Fact]
    public async Task A_volume_that_is_not_there_is_named_once_and_waited_for()
    {
        await File.WriteAllTextAsync(Data, "a file in the way", TestContext.Current.CancellationToken);
        await using var module = Start();
        var line = await module.LineAsync("Waiting for the volume");
        Assert.Contains(Data, line, StringComparison.Ordinal);
        Assert.True(module.IsRunning);

        File.Delete(Data);
        await module.LineAsync("is read every");
        Assert.Single(module.Lines, text => text.Contains("Waiting for the volume", StringComparison.Ordinal));
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact]
    public async Task A_stop_while_the_volume_is_waited_for_is_a_clean_one()
    {
        await File.WriteAllTextAsync(Data, "a file in the way", TestContext.Current.CancellationToken);
        await using var module = Start();
        await module.LineAsync("Waiting for the volume");
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact]
    public async Task A_port_that_is_taken_is_named_and_everything_else_works()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        var batches = new List<JsonElement>();
        await using var receiver = await ReceiverAsync(batches);
        await File.WriteAllTextAsync(SettingsPath, FastSensors, TestContext.Current.CancellationToken);
        await using var module = Start(("Web__Port", $"{port}"), ("Http__Endpoint", receiver.Url.ToString()));
        Assert.Contains($"Web__Port: {port}", await module.LineAsync("can't be used"), StringComparison.Ordinal);
        await Until.True(() => Count(batches) >= 2);
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact]
    public async Task A_broken_settings_file_changes_nothing_says_why_and_is_taken_when_it_is_mended()
    {
        await File.WriteAllTextAsync(SettingsPath, "{\"sensors\":{\"a\"", TestContext.Current.CancellationToken);
        await using var module = Start();
        Assert.Contains(SettingsPath, await module.LineAsync("changes nothing"), StringComparison.Ordinal);
        await module.LineAsync("Sensor host (host)");

        // As an editor does it: a new file in the place of the old one.
        await File.WriteAllTextAsync(SettingsPath + ".new", FastSensors, TestContext.Current.CancellationToken);
        File.Move(SettingsPath + ".new", SettingsPath, overwrite: true);
        await module.LineAsync("Sensor a (simulated)");

        // As Kubernetes does it: a link that is swapped.
        var first = Directory.CreateDirectory(Path.Combine(_directory, "v1")).FullName;
        await File.WriteAllTextAsync(Path.Combine(first, "s.json"), """{"sensors":{"b":{"kind":"simulated"}}}""", TestContext.Current.CancellationToken);
        File.Delete(SettingsPath);
        File.CreateSymbolicLink(SettingsPath, Path.Combine(first, "s.json"));
        await module.LineAsync("Sensor b (simulated)");
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact]
    public async Task A_workload_socket_that_is_missing_is_named_and_readings_are_kept()
    {
        var socket = Path.Combine(_directory, "workload.sock");
        await using var module = Start(
            ("IOTEDGE_WORKLOADURI", $"unix://{socket}"), ("IOTEDGE_DEVICEID", "pi"), ("IOTEDGE_MODULEID", "m"),
            ("IOTEDGE_IOTHUBHOSTNAME", "hub.azure-devices.net"), ("IOTEDGE_GATEWAYHOSTNAME", "localhost"),
            ("IOTEDGE_AUTHSCHEME", "sasToken"), ("IOTEDGE_MODULEGENERATIONID", "1"));
        Assert.Contains("no such socket", await module.LineAsync(socket), StringComparison.Ordinal);
        await Until.True(() =>
        {
            using var database = OpenDatabase();
            using var command = database.CreateCommand();
            command.CommandText = "select count(*) from queue";
            return (long)command.ExecuteScalar()! > 0;
        });
        Assert.Equal(0, await module.StopAsync());
        Assert.DoesNotContain("Stopped; 0 readings", module.Lines[^1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_receiver_that_never_answers_does_not_keep_the_module_from_stopping()
    {
        var asked = new TaskCompletionSource();
        await using var receiver = await Receiver.StartAsync(async context =>
        {
            asked.TrySetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        });
        await File.WriteAllTextAsync(SettingsPath, FastSensors, TestContext.Current.CancellationToken);
        await using var module = Start(("Http__Endpoint", receiver.Url.ToString()));
        await asked.Task;
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact]
    public async Task Status_health_and_metrics_are_served()
    {
        var port = FreePort.Find();
        await using var module = Start(("Web__Port", $"{port}"));
        await module.LineAsync("on port");
        using var http = new HttpClient { BaseAddress = new($"http://127.0.0.1:{port}") };
        using var status = JsonDocument.Parse(await http.GetStringAsync("/status", TestContext.Current.CancellationToken));
        Assert.Equal(JsonValueKind.Object, status.RootElement.GetProperty("sensors").ValueKind);
        var metrics = await http.GetStringAsync("/metrics", TestContext.Current.CancellationToken);
        var depth = Assert.Single(metrics.Split('\n'), line => line.StartsWith("sensorforwarder_queue_depth{", StringComparison.Ordinal));
        foreach (var label in (string[])["iothub=\"\"", "edge_device=\"", "module=\"SensorForwarder\"", "instance_number=\""])
            Assert.Contains(label, depth, StringComparison.Ordinal);
        Assert.Contains("live", await http.GetStringAsync("/healthz", TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }
}
