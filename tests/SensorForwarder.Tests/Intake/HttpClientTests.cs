using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using SensorForwarder.Intake;
using SensorForwarder.Tests.Configuration;
using SensorForwarder.Tests.Support;

namespace SensorForwarder.Tests.Intake;

/// <summary>The HTTP intake with existing clients: curl, Debian's python3-influxdb and influx. tests/run installs
/// them; without them the tests are skipped, unless TEST_CLIENTS_REQUIRED is 1.</summary>
public sealed partial class HttpClientTests
{
    const string Python = "/usr/bin/python3"; // Debian's, which has Debian's packages

    const int NoSuchCommand = 127; // the exit code of sh

    static readonly JsonSerializerOptions Readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    static CancellationToken Token => TestContext.Current.CancellationToken;

    static async Task<string[]> RunAsync(string program, string package, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            var errors = process.StandardError.ReadToEndAsync(Token);
            var lines = (await process.StandardOutput.ReadToEndAsync(Token)).Split('\n', StringSplitOptions.RemoveEmptyEntries);
            await process.WaitForExitAsync(Token);
            if (process.ExitCode != NoSuchCommand && !(await errors).Contains("No module named 'influxdb'", StringComparison.Ordinal))
            {
                Assert.True(process.ExitCode == 0, await errors);
                return lines;
            }
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // Not installed.
        }

        Assert.False(Environment.GetEnvironmentVariable("TEST_CLIENTS_REQUIRED") == "1", $"{package} is not installed");
        Assert.Skip($"{package} is not installed; tests/run installs it");
        return [];
    }

    static async Task<(IntakeFixture Intake, int Port)> ListenAsync(string? tokenFile = null)
    {
        var port = FreePort.Find();
        var intake = await IntakeFixture.OpenAsync(
            new() { Http = new IPEndPoint(IPAddress.Loopback, port), ReadingsPerSecond = 0, TokenFile = tokenFile });
        (await intake.ListenAsync()).Dispose();
        return (intake, port);
    }

    [Fact]
    public async Task Readings_of_the_Python_client_are_stored_with_their_values_tags_and_times()
    {
        var (intake, port) = await ListenAsync();
        await using var _ = intake;
        var said = await RunPythonAsync(port);
        Assert.Equal(
            ["ping: ok", "create database: ok", "points: ok", "with time: ok", "seconds: ok", "gzip: ok", "lines: ok"], said[..7]);
        Assert.StartsWith("broken: 400: ", said[7]);
        Assert.Contains("line 1", said[7]);
        Assert.StartsWith("query: 404: ", said[8]);
        var stored = intake.Stored().ConvertAll(line => JsonNode.Parse(line)!);
        Assert.Equal(1_005, stored.Count);
        Assert.Equal("""{"celsius":21.5,"n":3,"ok":true,"text":"a \"b\""}""", Values(stored[0]));
        Assert.Equal("weather,place=attic", Text(stored[0], "sensor"));
        Assert.Equal("""{"place":"attic"}""", stored[0]["tags"]!.ToJsonString());
        Assert.Equal("2026-11-24T14:20:31.000Z", Text(stored[2], "time"));
        Assert.Equal("2025-11-24T16:00:00.000Z", Text(stored[3], "time"));
        Assert.Equal(
            Enumerable.Range(0, 1_000), stored[4..^1].Select(reading => reading["values"]!["celsius"]!.GetValue<int>()));
        Assert.Equal("""{"open":1}""", Values(stored[^1]));
    }

    [Fact]
    public async Task The_Python_client_sends_the_token_as_its_password()
    {
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, "secret", Token);
            var (intake, port) = await ListenAsync(file);
            await using var _ = intake;
            Assert.StartsWith("points: 401: ", (await RunPythonAsync(port))[2]);
            Assert.StartsWith("points: 401: ", (await RunPythonAsync(port, "wrong"))[2]);
            Assert.Empty(intake.Stored());
            Assert.Equal("points: ok", (await RunPythonAsync(port, "secret"))[2]);
            Assert.Equal(1_005, intake.Stored().Count);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public async Task The_command_line_client_imports_a_file()
    {
        var (intake, port) = await ListenAsync();
        await using var _ = intake;
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(
                file, "# DDL\nCREATE DATABASE home\n# DML\n# CONTEXT-DATABASE: home\n\nweather,place=attic celsius=21.5 1764000000\n", Token);
            await RunAsync(
                "influx", "influxdb-client", "-host", "127.0.0.1", "-port", $"{port}", "-import", "-path", file, "-precision", "s");
            var reading = JsonNode.Parse(Assert.Single(intake.Stored()))!;
            Assert.Equal("2025-11-24T16:00:00.000Z", Text(reading, "time"));
            Assert.Equal("""{"celsius":21.5}""", Values(reading));
        }
        finally
        {
            File.Delete(file);
        }
    }

    [GeneratedRegex("^curl .*(?:gateway|unix-socket).*$", RegexOptions.Multiline)]
    private static partial Regex CurlCommand();

    [Fact]
    public async Task The_commands_of_the_documentation_store_their_readings()
    {
        var directory = Directory.CreateTempSubdirectory("curl-").FullName;
        try
        {
            var (tokenFile, socket) = (Path.Combine(directory, "token"), Path.Combine(directory, "intake.sock"));
            await File.WriteAllTextAsync(tokenFile, "secret", Token);
            await File.WriteAllTextAsync(Path.Combine(directory, "readings.ndjson"), """
                {"sensor":"first","values":{"n":1}}
                {"sensor":"second","values":{"n":2}}
                """, Token);
            var (intake, port) = await ListenAsync(tokenFile);
            await using var _ = intake;
            await using var onSocket = await IntakeFixture.OpenAsync(new() { Http = new UnixDomainSocketEndPoint(socket), ReadingsPerSecond = 0 });
            (await onSocket.ListenAsync()).Dispose();
            var text = await File.ReadAllTextAsync(Path.Combine(WrittenFile.Root, "docs/intake.md"), Token);
            var commands = CurlCommand().Matches(text).Select(match => match.Value).ToList();
            Assert.Equal(4, commands.Count);
            foreach (var command in commands)
            {
                var here = command.Replace("http://gateway:8086", $"http://127.0.0.1:{port}", StringComparison.Ordinal)
                    .Replace("/run/sensorforwarder/intake.sock", socket, StringComparison.Ordinal);
                Assert.Empty(await RunAsync("sh", "curl", "-c", $"cd {directory}; TOKEN=secret; {here} --silent --show-error --fail"));
            }

            Assert.Equal(
                ["meter", "first", "second", "weather,place=attic"], intake.Stored().Select(line => Text(JsonNode.Parse(line)!, "sensor")));
            Assert.Equal("opened", (string?)JsonNode.Parse(Assert.Single(onSocket.Stored()))!["data"]!["event"]);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    static Task<string[]> RunPythonAsync(int port, params string[] password) => RunAsync(
        Python, "python3-influxdb", [Path.Combine(AppContext.BaseDirectory, "Intake/influx-client.py"), $"{port}", .. password]);

    static string Values(JsonNode reading) => reading["values"]!.ToJsonString(Readable);

    static string Text(JsonNode reading, string property) => reading[property]!.GetValue<string>();
}
