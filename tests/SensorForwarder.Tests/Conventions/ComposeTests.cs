using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using SensorForwarder.Configuration;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Conventions;

/// <summary>Every path, port, service and boot value in <c>samples/docker-compose.yml</c> refers to something that exists.</summary>
public sealed partial class ComposeTests
{
    const string Folder = "samples";
    static readonly string Compose = WrittenFile.Read($"{Folder}/docker-compose.yml");

    /// <summary>The text of each service, by name.</summary>
    static readonly Dictionary<string, string> Services = Service().Split(Between("\nservices:\n", "\nnetworks:\n")).Skip(1).Chunk(2)
        .ToDictionary(part => part[0], part => part[1]);

    [Fact]
    public void Every_file_that_the_Compose_file_names_exists()
    {
        var mounts = Mount().Matches(Compose).Select(mount => Path.Combine(Folder, mount.Groups[1].Value));
        var dockerfiles = Dockerfile().Matches(Compose).Select(file => file.Groups[1].Value);
        var files = mounts.Concat(dockerfiles).ToList();
        Assert.Equal(6, files.Count);
        Assert.All(files, file => Assert.True(Path.Exists(Path.Combine(WrittenFile.Root, file)), $"{file} does not exist"));
        Assert.Contains("./prometheus:/etc/prometheus:ro", Services["prometheus"], StringComparison.Ordinal);
        foreach (var rules in RuleFile().Matches(WrittenFile.Read($"{Folder}/prometheus/prometheus.yml")).Select(file => file.Groups[1].Value))
            Assert.True(File.Exists(Path.Combine(WrittenFile.Root, Folder, "prometheus", rules)), $"{rules} does not exist");
        var dashboards = DashboardPath().Match(WrittenFile.Read($"{Folder}/grafana/provisioning/dashboards/sensorforwarder.yml")).Groups[1].Value;
        Assert.Contains($"./grafana/sensorforwarder.json:{dashboards}/sensorforwarder.json:ro", Services["grafana"], StringComparison.Ordinal);
        Assert.Contains($"GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: {dashboards}/sensorforwarder.json", Services["grafana"], StringComparison.Ordinal);
    }

    [Fact]
    public void The_module_gets_only_known_boot_values_and_valid_settings()
    {
        var names = Variable().Matches(Services["sensorforwarder"]).Select(variable => variable.Groups[1].Value).ToList();
        Assert.NotEmpty(names);
        Assert.Subset(BootTable.All.Select(option => option.Name).ToHashSet(), names.ToHashSet());

        var mounted = Mount().Match(Services["sensorforwarder"]);
        var (source, target) = (mounted.Groups[1].Value, mounted.Groups[2].Value);
        Assert.Contains($"Settings__File: {target}/settings.json", Services["sensorforwarder"], StringComparison.Ordinal);
        var settings = JsonNode.Parse(WrittenFile.Read($"{Folder}/{source}/settings.json"))!.AsObject();
        settings["httpEndpoint"] = "http://receiver:8000/"; // the sink needs one; here it is a boot value
        var parsed = SettingsFixture.NewParser(hasIdentity: false).Parse(settings, []);
        Assert.Empty(parsed.UnknownKeys);
        Assert.All(parsed.Verdicts, verdict => Assert.Null(verdict.Error));
    }

    [Fact]
    public void Every_address_matches_a_service_and_its_port()
    {
        var (receiver, port) = Address("Http__Endpoint: http://", Services["sensorforwarder"]);
        Assert.Contains($"ASPNETCORE_URLS: http://0.0.0.0:{port}", Services[receiver], StringComparison.Ordinal);
        Assert.Contains("Host=database;", Services[receiver], StringComparison.Ordinal);
        Assert.Contains("ConnectionStrings__Readings", WrittenFile.Read("samples/PostgresReceiver/Program.cs"), StringComparison.Ordinal);
        Assert.Contains("POSTGRES_DB: readings", Services["database"], StringComparison.Ordinal);

        var (module, webPort) = Address("- targets: [\"", WrittenFile.Read($"{Folder}/prometheus/prometheus.yml"));
        Assert.Equal(BootTable.WebPort.Default!.ToJsonString(), webPort);
        Assert.Contains($"\"127.0.0.1:{webPort}:{webPort}\"", Services[module], StringComparison.Ordinal);
        var (prometheus, prometheusPort) = Address("url: http://", WrittenFile.Read($"{Folder}/grafana/provisioning/datasources/prometheus.yml"));
        Assert.Contains($":{prometheusPort}\"]", Services[prometheus], StringComparison.Ordinal);
    }

    [Fact]
    public void Every_volume_and_network_is_declared_and_every_port_is_published_on_loopback_only()
    {
        var declared = Compose[Compose.IndexOf("\nnetworks:\n", StringComparison.Ordinal)..];
        var used = NamedVolume().Matches(Compose).Select(volume => volume.Groups[1].Value)
            .Concat(Networks().Matches(Compose).SelectMany(list => list.Groups[1].Value.Split(", ")));
        Assert.All(used, name => Assert.Contains($"\n  {name}: {{", declared, StringComparison.Ordinal));
        Assert.All(Ports().Matches(Compose), ports => Assert.StartsWith("127.0.0.1:", ports.Groups[1].Value, StringComparison.Ordinal));
    }

    /// <summary>Uses docker-compose, which tests/run installs where Docker has no Compose plug-in. Skipped if neither is installed, unless
    /// TEST_CONTAINERS_REQUIRED is 1.</summary>
    [Fact(Explicit = true)]
    public async Task Docker_Compose_accepts_the_file()
    {
        string[] arguments = ["-f", Path.Combine(WrittenFile.Root, Folder, "docker-compose.yml"), "config", "--quiet"];
        var problem = await RunAsync("docker-compose", arguments);
        if (problem is null && await RunAsync("docker", ["compose", "version"]) is "") problem = await RunAsync("docker", ["compose", .. arguments]);
        if (problem is null)
        {
            Assert.False(Environment.GetEnvironmentVariable("TEST_CONTAINERS_REQUIRED") == "1", "docker-compose is not installed");
            Assert.Skip("docker-compose is not installed; tests/run installs it");
        }

        Assert.Equal("", problem);
    }

    /// <returns>The error output if the program failed, "" if it succeeded, null if it is not installed.</returns>
    static async Task<string?> RunAsync(string program, string[] arguments)
    {
        var token = TestContext.Current.CancellationToken;
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            var problem = await process.StandardError.ReadToEndAsync(token);
            await process.WaitForExitAsync(token);
            return process.ExitCode == 0 ? "" : $"{process.ExitCode}: {problem}";
        }
        catch (Win32Exception)
        {
            return null;
        }
    }

    static (string Host, string Port) Address(string before, string text)
    {
        var start = text.IndexOf(before, StringComparison.Ordinal) + before.Length;
        var parts = HostAndPort().Match(text, start);
        return (parts.Groups[1].Value, parts.Groups[2].Value);
    }

    static string Between(string start, string end)
    {
        var from = Compose.IndexOf(start, StringComparison.Ordinal) + start.Length;
        return "\n" + Compose[from..Compose.IndexOf(end, StringComparison.Ordinal)];
    }

    [GeneratedRegex(@"\n  (\w+):\n")]
    private static partial Regex Service();

    [GeneratedRegex(@"- \./([\w./-]+):([\w./-]+):ro")]
    private static partial Regex Mount();

    [GeneratedRegex(@"dockerfile: ([\w./-]+)")]
    private static partial Regex Dockerfile();

    [GeneratedRegex(@"rule_files: \[([\w.]+)\]")]
    private static partial Regex RuleFile();

    [GeneratedRegex(@"path: ([\w/]+)")]
    private static partial Regex DashboardPath();

    [GeneratedRegex(@"^      (\w+__\w+):", RegexOptions.Multiline)]
    private static partial Regex Variable();

    [GeneratedRegex(@"(?:- |\["")(\w+):/")]
    private static partial Regex NamedVolume();

    [GeneratedRegex(@"networks: \[([\w, ]+)\]")]
    private static partial Regex Networks();

    [GeneratedRegex(@"ports: \[""([^""]+)""\]")]
    private static partial Regex Ports();

    [GeneratedRegex(@"\G(\w+):(\d+)")]
    private static partial Regex HostAndPort();
}
