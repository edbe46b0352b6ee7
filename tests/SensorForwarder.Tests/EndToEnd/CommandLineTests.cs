using System.IO.Compression;
using System.Runtime.Versioning;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using SensorForwarder.Buffer;
using SensorForwarder.Tests.Buffer;
using SensorForwarder.Tests.Readings;
using SensorForwarder.Tests.Support;
using SensorForwarder.Time;

namespace SensorForwarder.Tests.EndToEnd;

/// <summary>The program's command-line options, run as processes beside the module.</summary>
public sealed class CommandLineTests : IDisposable
{
    readonly BufferFixture _files = new();

    public void Dispose() => _files.Dispose();

    ChildProcess Run(string[] arguments, params (string, string)[] environment) =>
        ChildProcess.StartModule(arguments, [("Buffer__Directory", _files.Directory), ("Web__Port", "0"), .. environment]);

    async Task<(int Code, string Text)> AskAsync(string[] arguments, params (string, string)[] environment)
    {
        await using var process = Run(arguments, environment);
        return (await process.ExitCodeAsync(), string.Join('\n', process.Lines));
    }

    async Task FillAsync(int readings, BufferKey? key = null, KernelTime? kernelTime = null)
    {
        await using var buffer = await _files.OpenAsync(with: options => options with { Key = key, KernelTime = kernelTime is { } time ? () => time : options.KernelTime });
        foreach (var numbers in Enumerable.Range(1, readings).Chunk(1000))
        {
            await Task.WhenAll(numbers.Select(n => buffer.EnqueueAsync(
                n % 2 == 0
                    ? BufferFixture.Reading(n, "attic, \"left\"")
                    : BufferFixture.Reading(n, "cellar") with { Tags = TagsTests.Of("""{"rack":"7","site":"a, b"}""") },
                BufferFixture.Token).AsTask()));
        }

        await buffer.AcknowledgeAsync(1, 2, TestContext.Current.CancellationToken);
    }

    [Theory]
    [InlineData("--help", "Usage: SensorForwarder")]
    [InlineData("--version", "SensorForwarder 0.")]
    public async Task Help_and_version_need_no_valid_configuration(string option, string text)
    {
        var (code, output) = await AskAsync([option], ("Web__Port", "not a port"));
        Assert.Equal(0, code);
        Assert.StartsWith(text, output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("there is no option '--helth' (did you mean --health?); --help lists the options", "--helth")]
    [InlineData("there is no option '--colour'", "--colour")]
    [InlineData("one option at a time", "--status", "--health")]
    [InlineData("--export needs the name of a file", "--export")]
    [InlineData("ends neither in .csv nor in .ndjson", "--export", "readings.xls")]
    [InlineData("--export takes one file", "--export", "a.csv", "b.csv")]
    public async Task An_invalid_command_line_is_explained_in_one_line_and_exits_with_64(string text, params string[] arguments)
    {
        var (code, output) = await AskAsync(arguments);
        Assert.Equal(64, code);
        Assert.Contains(text, Assert.Single(output.Split('\n')), StringComparison.Ordinal);
    }

    [Fact(Explicit = true)]
    public async Task Health_and_status_are_those_of_the_running_module()
    {
        var port = ("Web__Port", $"{FreePort.Find()}");
        var (code, output) = await AskAsync(["--health"], port);
        Assert.Equal(1, code);
        Assert.Contains("no answer", Assert.Single(output.Split('\n')), StringComparison.Ordinal);
        (code, output) = await AskAsync(["--doctor"], port);
        Assert.Equal(0, code);
        Assert.Contains("Messages that edgeHub lost\n  unknown: no module that runs", output, StringComparison.Ordinal);

        await using var module = Run([], port);
        await module.LineAsync("on port");
        (code, output) = await AskAsync(["--health"], port);
        Assert.True(code == 0, output);
        Assert.Equal("live", (string?)JsonNode.Parse(output)!["status"]);
        (code, output) = await AskAsync(["--status"], port);
        Assert.Equal(0, code);
        foreach (var text in (string[])["queue ", "storage ", "clock ", "forwarding ", "host "]) Assert.Contains(text, output, StringComparison.Ordinal);
        (code, output) = await AskAsync(["--doctor"], port);
        Assert.Equal(0, code);
        Assert.Contains("Messages that edgeHub lost\n  none", output, StringComparison.Ordinal);
        Assert.Equal(0, await module.StopAsync());
    }

    [Fact(Explicit = true)]
    public async Task Doctor_reports_the_invalid_sensors_in_the_settings_file()
    {
        var file = Path.Combine(_files.Directory, "settings.json");
        var settings = ("Settings__File", file);
        Assert.Contains("settings.json: Could not find file", await WrongAsync(), StringComparison.Ordinal);
        await File.WriteAllTextAsync(file, """{"sensors":}""", TestContext.Current.CancellationToken);
        Assert.Contains("settings.json: it is not JSON: line 1, byte 12", await WrongAsync(), StringComparison.Ordinal);
        await File.WriteAllTextAsync(file, """{"sensors":[1]}""", TestContext.Current.CancellationToken);
        Assert.Contains("sensors: [1] is not a map", await WrongAsync(), StringComparison.Ordinal);
        await File.WriteAllTextAsync(
            file, """{"sensors":{"meter":{"kind":"modbus"},"host":{"kind":"host"}}}""", TestContext.Current.CancellationToken);
        Assert.Contains("meter: connection is missing", await WrongAsync(), StringComparison.Ordinal);

        await using var module = Run([], settings, ("Web__Port", "0"));
        await module.LineAsync("is read every");
        Assert.Contains("meter: connection is missing", await WrongAsync(), StringComparison.Ordinal);
        await File.WriteAllTextAsync(file, """{"sensors":{"host":{"kind":"host","intervalSeconds":2}}}""", TestContext.Current.CancellationToken);
        await module.LineAsync("is read every 2 s");
        Assert.StartsWith("none", await WrongAsync(), StringComparison.Ordinal);
        Assert.Equal(0, await module.StopAsync());

        async Task<string> WrongAsync()
        {
            var (code, output) = await AskAsync(["--doctor"], settings);
            Assert.Equal(0, code);
            return output.Split("Errors in the settings of sensors\n  ")[1];
        }
    }

    [Fact]
    public async Task A_module_without_a_port_is_not_reported_as_unhealthy()
    {
        var (code, output) = await AskAsync(["--health"]);
        Assert.Equal(0, code);
        Assert.Contains("Web__Port is 0", Assert.Single(output.Split('\n')), StringComparison.Ordinal);
        (code, output) = await AskAsync(["--status"]);
        Assert.Equal(1, code);
        Assert.Contains("Web__Port is 0", Assert.Single(output.Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Readings_are_exported_while_the_module_runs()
    {
        await FillAsync(1205);
        var settings = Path.Combine(_files.Directory, "settings.json");
        await File.WriteAllTextAsync(settings, """{"retainForwardedHours":1000000,"tags":{"site":"north"}}""", TestContext.Current.CancellationToken);
        await using var module = Run([], ("Settings__File", settings));
        await module.LineAsync("is read every");

        var lines = Path.Combine(_files.Directory, "out.ndjson");
        var (code, output) = await AskAsync(["--export", lines]);
        Assert.True(code == 0, output);
        var readings = (await File.ReadAllLinesAsync(lines, TestContext.Current.CancellationToken)).Select(line => JsonNode.Parse(line)!).ToList();
        Assert.Equal(Enumerable.Range(3, 1203).Select(i => (long)i), readings.Take(1203).Select(reading => (long)reading["id"]!));
        Assert.Equal("cellar", (string?)readings[0]["data"]!["sensor"]);
        Assert.Single(readings.Take(1203).Select(reading => (string?)reading["epoch"]).Distinct());

        // The settings may have been saved meanwhile, together with the tags of the module.
        var file = readings.Select(WithoutModuleTags).ToList();
        (code, output) = await AskAsync(["--export", "-"]);
        Assert.True(code == 0, output);
        Assert.Equal(file[..1203], output.Split('\n').Take(1203).Select(line => WithoutModuleTags(JsonNode.Parse(line)!)));

        // Two readings were forwarded and are still in the file.
        (code, output) = await AskAsync(["--export", lines, "--with-forwarded", "--force"]);
        Assert.True(code == 0, output);
        readings = [.. (await File.ReadAllLinesAsync(lines, TestContext.Current.CancellationToken)).Select(line => JsonNode.Parse(line)!)];
        Assert.Equal(Enumerable.Range(1, 1205).Select(i => (long)i), readings.Take(1205).Select(reading => (long)reading["id"]!));

        Assert.Equal(0, await module.StopAsync());
        var table = Path.Combine(_files.Directory, "out.csv");
        (code, output) = await AskAsync(["--export", table]);
        Assert.True(code == 0, output);
        var rows = await File.ReadAllLinesAsync(table, TestContext.Current.CancellationToken);
        Assert.Equal("epoch,id,time,sensor,kind,quality,reason,value,number,timeQuality,tags,moduleTags", rows[0]);
        Assert.EndsWith(",3,2026-11-24T12:00:03.000Z,cellar,simulated,good,,temperature,20.03,,\"{\"\"rack\"\":\"\"7\"\",\"\"site\"\":\"\"a, b\"\"}\",\"{\"\"site\"\":\"\"north\"\"}\"", rows[1], StringComparison.Ordinal);
        Assert.EndsWith(",4,2026-11-24T12:00:04.000Z,\"attic, \"\"left\"\"\",simulated,good,,number,4,,,\"{\"\"site\"\":\"\"north\"\"}\"", rows[4], StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(_files.Directory, "*.part"));

        static string WithoutModuleTags(JsonNode reading)
        {
            reading.AsObject().Remove("tags");
            return reading.ToJsonString();
        }
    }

    [Fact]
    public async Task Exported_readings_of_a_boot_without_a_synchronized_clock_are_marked_in_both_formats()
    {
        await FillAsync(3, kernelTime: new(TimeSpan.FromMinutes(1), "a boot long ago", Synchronized: false));
        foreach (var (name, mark) in ((string, string)[])[("out.ndjson", "\"timeQuality\":\"unsynchronized\""), ("out.csv", ",20.03,unsynchronized")])
        {
            var file = Path.Combine(_files.Directory, name);
            var (code, output) = await AskAsync(["--export", file]);
            Assert.True(code == 0, output);
            Assert.Contains(mark, await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken), StringComparison.Ordinal);
        }
    }

    [Fact]
    [SupportedOSPlatform("linux")]
    public async Task An_export_is_readable_only_by_its_owner_and_follows_no_symbolic_link()
    {
        await FillAsync(3);
        var other = Path.Combine(_files.Directory, "other");
        await File.WriteAllTextAsync(other, "other", TestContext.Current.CancellationToken);
        var file = Path.Combine(_files.Directory, "out.csv");
        File.CreateSymbolicLink(file + ".part", other);
        var (code, output) = await AskAsync(["--export", file]);
        Assert.True(code == 0, output);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        Assert.Null(new FileInfo(file).LinkTarget);

        File.Delete(file);
        File.CreateSymbolicLink(file, other);
        (code, output) = await AskAsync(["--export", file, "--force"]);
        Assert.True(code == 0, output);
        Assert.Null(new FileInfo(file).LinkTarget);
        Assert.Equal("other", await File.ReadAllTextAsync(other, TestContext.Current.CancellationToken));
    }

    [Theory(Explicit = true)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_export_replaces_an_existing_file_only_with_force(bool isLinkToNothing)
    {
        await FillAsync(3);
        var file = Path.Combine(_files.Directory, "out.csv");
        var token = TestContext.Current.CancellationToken;
        if (isLinkToNothing) File.CreateSymbolicLink(file, Path.Combine(_files.Directory, "nothing"));
        else await File.WriteAllTextAsync(file, "mine", token);
        var before = Directory.GetFileSystemEntries(_files.Directory, "out.*");
        var (code, output) = await AskAsync(["--export", file]);
        Assert.Equal(1, code);
        Assert.Equal($"{file}: exists already; add --force to replace it, or choose another name", output);
        Assert.Equal(before, Directory.GetFileSystemEntries(_files.Directory, "out.*"));
        Assert.False(File.Exists(Path.Combine(_files.Directory, "nothing")));
        if (!isLinkToNothing) Assert.Equal("mine", await File.ReadAllTextAsync(file, token));

        (code, output) = await AskAsync(["--export", file, "--force", "--with-forwarded"]);
        Assert.True(code == 0, output);
        Assert.StartsWith("epoch,id,", await File.ReadAllTextAsync(file, token), StringComparison.Ordinal);
        Assert.Single(Directory.GetFileSystemEntries(_files.Directory, "out.*"));
    }

    [Fact]
    public async Task A_stopped_export_leaves_no_file_behind()
    {
        await FillAsync(30_000);

        // The export may have ended before the signal; then it is repeated.
        var file = Path.Combine(_files.Directory, "out.csv");
        for (var code = 0; code == 0;)
        {
            File.Delete(file);
            await using var export = Run(["--export", file]);
            await Until.True(() => Directory.GetFiles(_files.Directory, "out.*").Length > 0 || !export.IsRunning);
            code = await export.StopAsync();
            Assert.True(code == 0 || export.Lines.Contains("stopped by a signal"), string.Join('\n', export.Lines));
        }

        Assert.Empty(Directory.GetFiles(_files.Directory, "out.*"));
    }

    [Theory(Explicit = true)]
    [InlineData("none/out.csv")]
    [InlineData("telemetry.db/out.csv")]
    public async Task An_export_that_cannot_be_written_names_the_file_and_exits_with_1(string name)
    {
        await FillAsync(3);
        var file = Path.Combine(_files.Directory, name);
        var (code, output) = await AskAsync(["--export", file]);
        Assert.Equal(1, code);
        Assert.StartsWith($"{file}: ", Assert.Single(output.Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_invalid_payload_makes_the_export_exit_with_1_and_leave_no_file()
    {
        await FillAsync(3);
        using (var database = new Microsoft.Data.Sqlite.SqliteConnection($"Data Source={_files.DatabasePath};Pooling=False"))
        {
            database.Open();
            using var command = database.CreateCommand();
            command.CommandText = "SELECT first_id FROM segment WHERE last_id = 3";
            var lines = Enumerable.Range((int)(long)command.ExecuteScalar()!, 3).TakeWhile(id => id <= 3)
                .Select(id => $"{id}\t1795000000000\t1\t{(id == 3 ? "{" : "{}")}\n");
            using var body = new MemoryStream();
            using (var gzip = new GZipStream(body, CompressionLevel.Fastest, leaveOpen: true)) gzip.Write(Encoding.UTF8.GetBytes(string.Concat(lines)));
            command.CommandText = "UPDATE segment SET body = $body WHERE last_id = 3";
            command.Parameters.AddWithValue("$body", body.ToArray());
            Assert.Equal(1, command.ExecuteNonQuery());
        }

        var (code, output) = await AskAsync(["--export", Path.Combine(_files.Directory, "out.csv")]);
        Assert.Equal(1, code);
        Assert.Contains("reading 3 is not JSON", Assert.Single(output.Split('\n')), StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(_files.Directory, "out.csv*"));
    }

    [Fact]
    public async Task An_encrypted_buffer_is_exported_only_with_its_key()
    {
        var keyFile = Path.Combine(_files.Directory, "key");
        await File.WriteAllBytesAsync(keyFile, RandomNumberGenerator.GetBytes(32), TestContext.Current.CancellationToken);
        await FillAsync(5, BufferKey.Read(keyFile));
        var lines = Path.Combine(_files.Directory, "out.ndjson");
        var (code, output) = await AskAsync(["--export", lines]);
        Assert.Equal(1, code);
        Assert.Contains("Buffer__KeyFile", output, StringComparison.Ordinal);
        Assert.False(File.Exists(lines));
        (code, output) = await AskAsync(["--export", lines], ("Buffer__KeyFile", keyFile));
        Assert.True(code == 0, output);
        Assert.Equal(3, (await File.ReadAllLinesAsync(lines, TestContext.Current.CancellationToken)).Length);
    }

    [Fact]
    public async Task The_buffer_check_tells_an_intact_buffer_from_a_damaged_one()
    {
        var (code, output) = await AskAsync(["--check-buffer"]);
        Assert.Equal(1, code);
        Assert.Contains("Buffer__Directory", output, StringComparison.Ordinal);

        await FillAsync(3000);
        (code, output) = await AskAsync(["--check-buffer"]);
        Assert.True(code == 0, output);
        Assert.Contains("no damage found; 2998 readings", output, StringComparison.Ordinal);

        using (var file = new FileStream(_files.DatabasePath, FileMode.Open))
        {
            for (var page = 10; page < file.Length / 1024; page += 5)
            {
                file.Position = page * 1024;
                file.Write(new byte[64]);
            }
        }

        (code, output) = await AskAsync(["--check-buffer"]);
        Assert.Equal(1, code);
        Assert.Contains("damaged", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_unhandled_exception_is_logged_in_one_line_and_ends_the_process_with_70()
    {
        await using var victim = ChildProcess.Start(Path.Combine(AppContext.BaseDirectory, "SensorForwarder.Tests.Victim"), ["--crash"], []);
        Assert.Equal(70, await victim.ExitCodeAsync());
        var line = Assert.Single(victim.Lines);
        LogLine.Check([line]);
        Assert.StartsWith("<2>", line, StringComparison.Ordinal);
        Assert.Contains("Committed readings are safe", line, StringComparison.Ordinal);
        Assert.Contains("InvalidOperationException: made to fail <1>with a line of its own", line, StringComparison.Ordinal);
    }
}
