using System.CommandLine;
using System.Net;
using EdgeSimulator.Modules;
using EdgeSimulator.Runs;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Simulator;

public sealed class CommandLineTests : IDisposable
{
    readonly string _file = Path.GetTempFileName();

    public void Dispose() => File.Delete(_file);

    [Fact]
    public void Options_have_the_documented_defaults()
    {
        var options = Parse("--no-module");

        Assert.Null(options.Duration);
        Assert.Null(options.ApiPort);
        Assert.Null(options.ModulePath);
        Assert.Empty(options.Blackouts);
        Assert.Empty(options.HubRestarts);
        Assert.Empty(options.HubDrops);
        Assert.Equal(("pi-sim", "SensorForwarder"), (options.DeviceId, options.ModuleId));
        Assert.Equal(20, (int)options.Desired["batchSize"]!);
    }

    [Fact]
    public void Every_option_is_parsed()
    {
        File.WriteAllText(_file, """{"batchSize":7}""");

        var options = Parse(
            $"--duration 40.5 --blackout 10:15 --blackout 30:2.5 --kill-every 7 --hub-restarts 15 --hub-restarts 25.5 --hub-drops 20 " +
            "--http --skip-schemas --api 8080 --report r.json --address 127.0.0.9 " +
            $"--sender s --device d --module-id m --data data --module {_file} --settings {_file} --identity connectionString");

        Assert.Equal(TimeSpan.FromSeconds(40.5), options.Duration);
        Assert.Equal(
            [new(TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(15)), new(TimeSpan.FromSeconds(30), TimeSpan.FromSeconds(2.5))],
            options.Blackouts);
        Assert.Equal(TimeSpan.FromSeconds(7), options.KillEvery);
        Assert.Equal([TimeSpan.FromSeconds(15), TimeSpan.FromSeconds(25.5)], options.HubRestarts);
        Assert.Equal([TimeSpan.FromSeconds(20)], options.HubDrops);
        Assert.True(options.Http && options.SkipSchemas);
        Assert.Equal(IdentitySource.ConnectionString, options.Identity);
        Assert.Equal(8080, options.ApiPort);
        Assert.Equal(IPAddress.Parse("127.0.0.9"), options.Address);
        Assert.Equal(("d", "m", "s"), (options.DeviceId, options.ModuleId, options.SenderId));
        Assert.Equal("/modules/m/inputs/s", options.Routes.Routes[^1].Input);
        Assert.Equal(7, (int)options.Desired["batchSize"]!);
        Assert.True(Path.IsPathFullyQualified(options.DataDirectory!) && Path.IsPathFullyQualified(options.ReportFile!));
    }

    [Theory]
    [InlineData("--duration", "soon")]
    [InlineData("--duration", "0")]
    [InlineData("--duration", "-5")]
    [InlineData("--blackout", "10")]
    [InlineData("--blackout", "10:0")]
    [InlineData("--blackout", "a:b")]
    [InlineData("--kill-every", "NaN")]
    [InlineData("--hub-restarts", "0")]
    [InlineData("--hub-drops", "later")]
    [InlineData("--api", "99999")]
    [InlineData("--address", "8.8.8.8")]
    [InlineData("--address", "here")]
    [InlineData("--identity", "certificate")]
    [InlineData("--settings", "/no/such/file.json")]
    public void Invalid_value_is_named_with_its_option(string option, string value)
    {
        var error = Assert.Single(CommandLine.Create(_ => Task.FromResult(0)).Parse([option, value]).Errors);

        Assert.Contains(option, error.Message, StringComparison.Ordinal);
        Assert.Contains(value, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Settings_file_that_is_no_JSON_object_is_named_in_the_error()
    {
        File.WriteAllText(_file, "[1]");

        var error = Assert.Single(CommandLine.Create(_ => Task.FromResult(0)).Parse(["--settings", _file]).Errors);

        Assert.Contains(_file, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Overlapping_blackouts_are_merged()
    {
        static BlackoutWindow Window(int start, int length) => new(TimeSpan.FromSeconds(start), TimeSpan.FromSeconds(length));

        Assert.Equal(
            [Window(1, 9), Window(20, 1)],
            Schedules.Merged([Window(20, 1), Window(1, 4), Window(3, 1), Window(5, 5)]));
    }

    [Fact]
    public void Commands_in_the_documentation_are_accepted()
    {
        const string Command = "dotnet run --project tests/EdgeSimulator -- ";
        var commands = new[] { "README.md", "docs/getting-started.md" }
            .SelectMany(page => WrittenFile.Read(page).Split('\n'))
            .Where(line => line.StartsWith(Command, StringComparison.Ordinal)).ToList();
        Assert.NotEmpty(commands);
        Assert.All(commands, line => Parse(line[Command.Length..]));
    }

    static RunOptions Parse(string arguments)
    {
        RunOptions? parsed = null;
        var result = CommandLine.Create(options =>
        {
            parsed = options;
            return Task.FromResult(0);
        }).Parse(arguments.Split(' '));
        Assert.Empty(result.Errors);
        result.Invoke();
        return parsed!;
    }
}
