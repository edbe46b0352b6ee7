using EdgeSimulator.Hub;
using EdgeSimulator.Manifests;
using EdgeSimulator.Modules;

namespace SensorForwarder.Tests.Simulator;

public sealed class ManifestTests
{
    const string Template = """
        {
          "$schema-template": "4.0.0",
          "modulesContent": {
            "$edgeAgent": { "properties.desired": { "modules": {
              "Other": {},
              "SensorForwarder": {
                "env": { "A": { "value": "from env" }, "N": { "value": 5 } },
                "settings": { "createOptions": { "Env": ["A=from options", "B=x=y", "C=${NO_SUCH_VARIABLE_OF_OURS}"] } }
              } } } },
            "$edgeHub": { "properties.desired": {
              "routes": {
                "live": { "route": "FROM /messages/modules/SensorForwarder/outputs/live INTO $upstream", "priority": 1, "timeToLiveSecs": 60 },
                "rest": "FROM /messages/modules/SensorForwarder/outputs/* WHERE a = 'b' INTO BrokeredEndpoint(\"/modules/Other/inputs/in\")"
              },
              "storeAndForwardConfiguration": { "timeToLiveSecs": 7200 } } },
            "SensorForwarder": { "properties.desired": { "batchSize": 50 } }
          }
        }
        """;

    [Fact]
    public void Environment_desired_properties_and_routes_are_taken_from_a_template()
    {
        var manifest = DeploymentManifest.Parse(Template, null, "SensorForwarder");

        Assert.Equal(
            [new("A", "from env"), new("B", "x=y"), new("C", "${NO_SUCH_VARIABLE_OF_OURS}"), new("N", "5")], manifest.Environment);
        Assert.Equal(50, (int)manifest.Desired["batchSize"]!);
        Assert.Equal(
            [
                new("live", "/messages/modules/SensorForwarder/outputs/live", null, null, 1, TimeSpan.FromSeconds(60)),
                new("rest", "/messages/modules/SensorForwarder/outputs", "a = 'b'", "/modules/Other/inputs/in", Route.LowestPriority,
                    TimeSpan.FromSeconds(7200)),
            ],
            manifest.Routes.Routes);
    }

    [Fact]
    public void Create_options_in_pieces_are_put_together()
    {
        var generated = Template.Replace(
            """{ "Env": ["A=from options", "B=x=y", "C=${NO_SUCH_VARIABLE_OF_OURS}"] }""",
            """ "{\"Env\":[\"B=x", "createOptions01": "=y\"]}" """, StringComparison.Ordinal);

        var manifest = DeploymentManifest.Parse(generated, "SensorForwarder", "");

        Assert.Contains(new KeyValuePair<string, string>("B", "x=y"), manifest.Environment);
    }

    [Theory]
    [InlineData("nonsense", null, "not JSON")]
    [InlineData("{}", null, "modulesContent")]
    [InlineData("""{"modulesContent":{"$edgeAgent":{"properties.desired.modules.A":{}}}}""", null, "base")]
    [InlineData(Template, "Third", "SensorForwarder")]
    public void What_cannot_be_used_is_said(string text, string? module, string words)
    {
        var exception = Assert.Throws<FormatException>(() => DeploymentManifest.Parse(text, module, "SensorForwarder"));

        Assert.Contains(words, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Route_that_makes_no_sense_is_named()
    {
        var text = Template.Replace("INTO $upstream", "TO $upstream", StringComparison.Ordinal);

        var exception = Assert.Throws<FormatException>(() => DeploymentManifest.Parse(text, null, "SensorForwarder"));

        Assert.Contains("'live'", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/*", "m", "o", true)]
    [InlineData("/messages/*", "m", "", true)]
    [InlineData("/messages/modules/m/outputs/*", "m", "o", true)]
    [InlineData("/messages/modules/m/outputs/*", "m", "", false)]
    [InlineData("/messages/modules/M/outputs/O", "m", "o", true)]
    [InlineData("/messages/modules/m/outputs/other", "m", "o", false)]
    [InlineData("/messages/modules/x/*", "m", "o", false)]
    public void Route_takes_what_begins_with_its_source(string source, string module, string output, bool takes)
    {
        Assert.True(Route.TryParse("r", $"FROM {source} INTO $upstream", 0, null, out var route));

        Assert.Equal(takes, route.Takes(module, output));
    }

    [Fact]
    public void Manifest_sets_the_log_level_and_what_the_simulator_does_not_set()
    {
        var environment = ModuleEnvironment.With(
            [new("RuntimeLogLevel", "info"), new("Web__Port", "1")],
            [new("RuntimeLogLevel", "debug"), new("Web__Port", "9600"), new("Http__Endpoint", "http://x")]);

        Assert.Equal([new("Web__Port", "1"), new("RuntimeLogLevel", "debug"), new("Http__Endpoint", "http://x")], environment);
    }

    [Fact]
    public void Manifest_of_the_repository_can_be_used()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "deployment.template.json")))
        {
            directory = Path.GetDirectoryName(directory)!;
        }

        var manifest = DeploymentManifest.Parse(File.ReadAllText(Path.Combine(directory, "deployment.template.json")), null, "SensorForwarder");

        Assert.NotNull(manifest.Routes.Find("SensorForwarder", "live").Upstream);
        Assert.NotEmpty(manifest.Desired);
    }
}
