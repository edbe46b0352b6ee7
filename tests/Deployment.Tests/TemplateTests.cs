using System.Text.RegularExpressions;
using SensorForwarder.Configuration;
using SensorForwarder.Forwarding;

namespace Deployment.Tests;

/// <summary>Each template, expanded with <c>.env.template</c>, is valid for IoT Hub, edgeAgent and the
/// module.</summary>
public sealed partial class TemplateTests
{
    const string Pi = "deployment.template.json";
    const string Debug = "deployment.debug.template.json";
    const string Layered = "deployment.layered.template.json";

    public static TheoryData<string, string> Manifests { get; } =
        new MatrixTheoryData<string, string>([Pi, Debug], ["amd64", "arm64v8", "arm32v7"]);

    [Theory, MemberData(nameof(Manifests))]
    public void A_template_expands_to_a_valid_manifest(string file, string platform) =>
        Assert.Empty(ManifestRules.Violations(Expand(file, platform)));

    [Theory, MemberData(nameof(Manifests))]
    public void The_image_matches_the_platform(string file, string platform)
    {
        var image = (string)Module(Expand(file, platform), "SensorForwarder")["settings"]!["image"]!;
        Assert.Equal($"myregistry.azurecr.io/sensorforwarder:0.1.0-{platform}{(file == Debug ? ".debug" : "")}", image);
    }

    [Theory, InlineData(Pi), InlineData(Debug), InlineData(Layered)]
    public void Every_placeholder_is_defined_in_the_environment_template(string file)
    {
        var names = Placeholder().Matches(Repository.Read(file) + Repository.Read("modules/SensorForwarder/module.json"))
            .Select(match => match.Groups[1].Value).Where(name => name != "MODULES");
        Assert.Empty(names.Except(Repository.Environment().Keys));
    }

    [Fact]
    public void Every_variable_of_the_environment_template_is_used()
    {
        var files = string.Concat(new[] { Pi, Debug, "modules/SensorForwarder/module.json" }.Select(Repository.Read));
        Assert.All(Repository.Environment().Keys, name => Assert.Contains($"${{{name}}}", files, StringComparison.Ordinal));
    }

    [Theory, InlineData(Pi), InlineData(Debug), InlineData(Layered), InlineData(".env.template")]
    public void No_template_contains_a_secret(string file) => Assert.Empty(Secrets(Repository.Read(file)));

    [Theory]
    [InlineData("\"password\": \"${CONTAINER_REGISTRY_PASSWORD}\"", 0)]
    [InlineData("\"password\": \"hunter2\"", 1)]
    [InlineData("CONTAINER_REGISTRY_PASSWORD=hunter2", 1)]
    [InlineData("\"value\": \"HostName=h;DeviceId=d;SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"", 1)]
    [InlineData("\"Http__Authorization\": { \"value\": \"Bearer abc\" }", 1)]
    public void A_secret_in_a_template_is_detected(string text, int expected) => Assert.Equal(expected, Secrets(text).Count());

    [Theory, InlineData(Pi), InlineData(Debug)]
    public void The_module_accepts_every_setting(string file) => AssertAccepted(Desired(Expand(file, "arm64v8")));

    [Fact]
    public void Layers_change_only_the_properties_that_they_name()
    {
        var desired = Desired(Expand(Pi, "arm64v8"));
        var layer = Expand(Layered, "arm64v8");
        Assert.Equal(["content"], layer.Select(p => p.Key));
        var content = layer["content"]!["modulesContent"]!["SensorForwarder"]!.AsObject();
        Assert.Contains(content, p => p.Key.StartsWith("properties.desired.sensors.", StringComparison.Ordinal));
        foreach (var (path, value) in content)
        {
            // A layer with the whole "properties.desired" would replace the layers below.
            Assert.StartsWith("properties.desired.", path, StringComparison.Ordinal);
            var keys = path.Split('.')[2..];
            var parent = keys[..^1].Aggregate(desired, (map, key) => map[key]!.AsObject());
            Assert.NotEqual(parent[keys[^1]]?.ToJsonString(), value!.ToJsonString());
            parent[keys[^1]] = value.DeepClone();
        }

        Assert.True(desired["sensors"]!.AsObject().Count > 1);
        AssertAccepted(desired);
    }

    [Fact]
    public void Each_output_of_the_module_has_a_route_and_live_has_priority()
    {
        var routes = Expand(Pi, "arm64v8")["modulesContent"]!["$edgeHub"]!["properties.desired"]!["routes"]!.AsObject();
        Assert.Equal(
            ["FROM /messages/modules/SensorForwarder/outputs/alarm INTO $upstream", "FROM /messages/modules/SensorForwarder/outputs/live INTO $upstream", "FROM /messages/modules/SensorForwarder/outputs/backfill INTO $upstream"],
            routes.OrderBy(r => (int)r.Value!["priority"]!).Select(r => (string)r.Value!["route"]!));
    }

    [Fact]
    public void The_module_has_only_the_rights_that_it_needs()
    {
        var options = Options(Expand(Pi, "arm64v8"), "SensorForwarder");
        var host = options["HostConfig"]!.AsObject();
        Assert.Equal("""["ALL"]""", host["CapDrop"]!.ToJsonString());
        Assert.Equal("""["no-new-privileges"]""", host["SecurityOpt"]!.ToJsonString());
        Assert.True((bool)host["ReadonlyRootfs"]!);
        Assert.False(host.ContainsKey("Privileged") || host.ContainsKey("CapAdd"));
        Assert.False(host.ContainsKey("Devices") || host.ContainsKey("GroupAdd"), "the only sensor is 'host', which needs no device");
        Assert.True((long)host["Memory"]! >= 64 << 20);
        Assert.True((long)host["PidsLimit"]! > 0);
        Assert.Equal("""[{"Name":"core","Soft":0,"Hard":0}]""", host["Ulimits"]!.ToJsonString());
        Assert.True((int)options["StopTimeout"]! > 10);
    }

    [Fact]
    public void The_page_of_the_debug_image_is_published_on_loopback_only_and_its_files_are_read_only()
    {
        var host = Options(Expand(Debug, "amd64"), "SensorForwarder")["HostConfig"]!;
        Assert.True((bool)host["ReadonlyRootfs"]!);
        Assert.All(host["PortBindings"]!.AsObject().SelectMany(port => port.Value!.AsArray()), port => Assert.Equal("127.0.0.1", (string?)port!["HostIp"]));
    }

    [Theory, InlineData(Pi), InlineData(Debug)]
    public void Every_container_limits_its_log(string file)
    {
        foreach (var module in (string[])["edgeAgent", "edgeHub", "SensorForwarder"])
        {
            var log = Options(Expand(file, "amd64"), module)["HostConfig"]!["LogConfig"]!;
            Assert.NotNull(log["Config"]!["max-size"]);
            Assert.NotNull(log["Config"]!["max-file"]);
        }
    }

    [Theory, InlineData("edgeHub", "/iotedge/storage"), InlineData("SensorForwarder", "/data")]
    public void Data_that_must_outlive_a_container_is_on_a_volume(string module, string folder)
    {
        var mounts = Options(Expand(Pi, "arm64v8"), module)["HostConfig"]!["Mounts"]!.AsArray();
        Assert.Contains(mounts, mount => (string)mount!["Target"]! == folder && (string)mount["Type"]! == "volume");
    }

    [Fact]
    public void EdgeHub_keeps_acknowledged_messages_while_the_cloud_refuses_connections() => Assert.Equal(
        "false",
        (string?)Expand(Pi, "arm64v8")["modulesContent"]!["$edgeAgent"]!["properties.desired"]!["systemModules"]!["edgeHub"]!
            ["env"]!["TrackDeviceState"]!["value"]);

    [Fact]
    public void EdgeHub_keeps_acknowledged_messages_for_a_month()
    {
        const long month = 30 * 24 * 3600;
        var hub = Expand(Pi, "arm64v8")["modulesContent"]!["$edgeHub"]!["properties.desired"]!;
        Assert.Equal(month, (long)hub["storeAndForwardConfiguration"]!["timeToLiveSecs"]!);
        Assert.All(hub["routes"]!.AsObject(), route => Assert.Equal(month, (long)route.Value!["timeToLiveSecs"]!));
    }

    [Fact]
    public void Iotedgehubdev_runs_the_debug_manifest_unchanged()
    {
        var manifest = Expand(Debug, "amd64");
        foreach (var module in (string[])["edgeHub", "SensorForwarder"])
        {
            var options = Options(manifest, module);
            Assert.Empty(Hubdev.Failures(options));
            Assert.Empty(Hubdev.Dropped(options));
            // docker-compose does not start with devices that a developer's machine does not have.
            Assert.Null(options["HostConfig"]!["Devices"]);
        }

        Assert.All(Desired(manifest)["sensors"]!.AsObject(), sensor => Assert.Equal("simulated", (string)sensor.Value!["kind"]!));
        Assert.All(manifest["modulesContent"]!.AsObject(), part => Assert.NotNull(part.Value!["properties.desired"]));
    }

    [Fact]
    public void Iotedgehubdev_runs_the_Pi_manifest_without_the_options_for_a_Pi()
    {
        var options = Options(Expand(Pi, "amd64"), "SensorForwarder");
        Assert.Empty(Hubdev.Failures(options));
        Assert.Equal(["HostConfig.Memory", "HostConfig.PidsLimit"], Hubdev.Dropped(options).Order());
    }

    static JsonObject Expand(string file, string platform) => Template.Expand(Repository.Read(file), platform, Repository.Environment());

    static JsonObject Module(JsonObject manifest, string name)
    {
        var agent = manifest["modulesContent"]!["$edgeAgent"]!["properties.desired"]!;
        return (agent["modules"]![name] ?? agent["systemModules"]![name])!.AsObject();
    }

    static JsonObject Options(JsonObject manifest, string module) => Template.JoinCreateOptions(Module(manifest, module)["settings"]!.AsObject());

    static JsonObject Desired(JsonObject manifest) =>
        manifest["modulesContent"]!["SensorForwarder"]!["properties.desired"]!.DeepClone().AsObject();

    static void AssertAccepted(JsonObject desired)
    {
        var parser = new SettingsParser(
            new Settings { Forwarding = new() { Sink = SinkKind.IotHub } }, hasIdentity: true,
            new(SensorForwarder.Module.SensorKinds, new(new("/proc", "/sys", "/tmp"), TimeProvider.System)), new(null, new Dictionary<string, string>()));
        var parsed = parser.Parse(desired, []);
        Assert.All(parsed.Verdicts, verdict => Assert.Null(verdict.Error));
        Assert.Empty(parsed.UnknownKeys);
    }

    static IEnumerable<string> Secrets(string text) => Secret().Matches(text).Select(match => match.Value);

    [GeneratedRegex(@"\$\{(\w+)[.}]")]
    private static partial Regex Placeholder();

    // Matches a value after the name of a secret, unless it is a placeholder or empty, and keys as generated by IoT
    // Hub.
    [GeneratedRegex(
        """(password|authorization|secret|token|sharedaccesskey)\w*"?[ \t]*[:=][ \t]*(\{[ \t]*"value"[ \t]*:[ \t]*)?(?!"?\$\{)(?!"")"?[^\s"{,]+|[A-Za-z0-9+/]{43}=""",
        RegexOptions.IgnoreCase)]
    private static partial Regex Secret();
}
