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
                "rest": "FROM /messages/modules/SensorForwarder/outputs/* WHERE a = 'b' AND NOT c INTO BrokeredEndpoint(\"/modules/Other/inputs/in\")"
              },
              "storeAndForwardConfiguration": { "timeToLiveSecs": 7200 } } },
            "SensorForwarder": { "properties.desired": { "batchSize": 50 } }
          }
        }
        """;

    [Fact]
    public void Environment_desired_properties_and_routes_are_read_from_a_template()
    {
        var manifest = DeploymentManifest.Parse([Template], null, "SensorForwarder");

        Assert.Equal(
            [new("A", "from env"), new("B", "x=y"), new("C", "${NO_SUCH_VARIABLE_OF_OURS}"), new("N", "5")], manifest.Environment);
        Assert.Equal(50, (int)manifest.Desired["batchSize"]!);
        Assert.Equal(
            [
                ("live", "/messages/modules/SensorForwarder/outputs/live", null, null, 1, TimeSpan.FromSeconds(60)),
                ("rest", "/messages/modules/SensorForwarder/outputs", "a = 'b' AND NOT c", "/modules/Other/inputs/in", Route.LowestPriority,
                    TimeSpan.FromSeconds(7200)),
            ],
            manifest.Routes.Routes.Select(r => (r.Name, r.Source, r.Condition?.Text, r.Input, r.Priority, r.TimeToLive)));
    }

    [Fact]
    public void Split_create_options_are_joined()
    {
        var generated = Template.Replace(
            """{ "Env": ["A=from options", "B=x=y", "C=${NO_SUCH_VARIABLE_OF_OURS}"] }""",
            """ "{\"Env\":[\"B=x", "createOptions01": "=y\"]}" """, StringComparison.Ordinal);

        var manifest = DeploymentManifest.Parse([generated], "SensorForwarder", "");

        Assert.Contains(new KeyValuePair<string, string>("B", "x=y"), manifest.Environment);
    }

    [Theory]
    [InlineData("nonsense", null, "not JSON")]
    [InlineData("{}", null, "modulesContent")]
    [InlineData("""{"modulesContent":{"$edgeAgent":{"properties.desired":{}}}}""", null, "no $edgeAgent.properties.desired.modules")]
    [InlineData("""{"modulesContent":{"$edgeAgent":{"desired":{}}}}""", null, "'desired' is neither")]
    [InlineData("""{"modulesContent":{"$edgeAgent":{"properties.desired":5}}}""", null, "not an object")]
    [InlineData(Template, "Third", "SensorForwarder")]
    public void Error_says_why_a_manifest_cannot_be_used(string text, string? module, string words)
    {
        var exception = Assert.Throws<FormatException>(() => DeploymentManifest.Parse([text], module, "SensorForwarder"));

        Assert.Contains(words, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Layers_change_only_the_properties_they_name_and_the_last_layer_wins()
    {
        const string Layer = """
            { "modulesContent": {
              "$edgeAgent": { "properties.desired.modules.Extra": {} },
              "$edgeHub": { "properties.desired.routes.live": "FROM /messages/modules/SensorForwarder/outputs/live INTO $upstream",
                            "properties.desired.storeAndForwardConfiguration.storeLimits.maxSizeBytes": 1000 },
              "SensorForwarder": { "properties.desired.sensors.attic": { "kind": "bme280" }, "properties.desired.batchSize": 7 } } }
            """;
        var last = Layer.Replace("7", "9", StringComparison.Ordinal).Replace("attic", "cellar", StringComparison.Ordinal);

        var manifest = DeploymentManifest.Parse([Template, Layer, last], null, "SensorForwarder");

        Assert.Equal(
            """{"batchSize":9,"sensors":{"attic":{"kind":"bme280"},"cellar":{"kind":"bme280"}}}""", manifest.Desired.ToJsonString());
        Assert.Equal(["live", "rest"], manifest.Routes.Routes.Select(route => route.Name));
        Assert.Equal(Route.LowestPriority, manifest.Routes.Routes[0].Priority);
        Assert.Equal(1000, manifest.Routes.StoreMaxBytes);
        Assert.Contains(new KeyValuePair<string, string>("A", "from env"), manifest.Environment);
    }

    [Theory]
    [InlineData("INTO $upstream", "TO $upstream", "route 'live' is not of the form FROM")]
    [InlineData("\"priority\": 1", "\"priority\": 10", "route 'live': priority 10 is not a number from 0 to 9")]
    [InlineData("AND NOT c", "+ 1", "route 'rest': at character 9 of 'a = 'b' + 1': expected AND, OR or end of text, not '+'")]
    public void Invalid_route_is_named_in_the_error(string part, string instead, string words)
    {
        var text = Template.Replace(part, instead, StringComparison.Ordinal);

        var exception = Assert.Throws<FormatException>(() => DeploymentManifest.Parse([text], null, "SensorForwarder"));

        Assert.Contains(words, exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/*", "m", "o", true)]
    [InlineData("/messages/*", "m", "", true)]
    [InlineData("/messages/modules/m/outputs/*", "m", "o", true)]
    [InlineData("/messages/modules/m/outputs/*", "m", "", false)]
    [InlineData("/messages/modules/M/outputs/O", "m", "o", true)]
    [InlineData("/messages/modules/m/outputs/other", "m", "o", false)]
    [InlineData("/messages/modules/x/*", "m", "o", false)]
    public void Route_accepts_the_messages_that_match_its_source(string source, string module, string output, bool takes)
    {
        Assert.Equal(takes, Route.Parse("r", $"FROM {source} INTO $upstream", 0, null).Takes(module, output));
    }

    [Fact]
    public void Manifest_sets_the_log_level_and_variables_that_the_simulator_does_not_set()
    {
        var environment = ModuleEnvironment.With(
            [new("RuntimeLogLevel", "info"), new("Web__Port", "1")],
            [new("RuntimeLogLevel", "debug"), new("Web__Port", "9600"), new("Http__Endpoint", "http://x")]);

        Assert.Equal([new("Web__Port", "1"), new("RuntimeLogLevel", "debug"), new("Http__Endpoint", "http://x")], environment);
    }

    [Fact]
    public void Manifests_of_the_repository_are_accepted()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "deployment.template.json")))
        {
            directory = Path.GetDirectoryName(directory)!;
        }

        string Read(string name) => File.ReadAllText(Path.Combine(directory, name));
        var manifest = DeploymentManifest.Parse([Read("deployment.template.json")], null, "SensorForwarder");

        Assert.All((string[])["live", "backfill", "alarm"], output => Assert.NotNull(manifest.Routes.Find(new RoutedMessage(
            new("d", "SensorForwarder", ""), new Dictionary<string, string?> { ["$.on"] = output }, [])).Upstream));
        Assert.NotEmpty(manifest.Desired);
        Assert.NotEqual(
            manifest.Desired.ToJsonString(),
            DeploymentManifest.Parse([Read("deployment.template.json"), Read("deployment.layered.template.json")], null, "SensorForwarder")
                .Desired.ToJsonString());
    }
}
