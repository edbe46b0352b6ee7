namespace Deployment.Tests;

/// <summary>Tests of the rules themselves: each change to a valid manifest must cause the expected message.</summary>
public sealed class RuleTests
{
    const string Agent = "$edgeAgent/properties.desired";
    const string Module = $"{Agent}/modules/SensorForwarder";
    const string Hub = "$edgeHub/properties.desired";

    [Theory]
    [InlineData($"{Agent}/schemaVersion", "\"1.0\"", "schemaVersion")]
    [InlineData($"{Agent}/registries", "{}", "unknown key registries")]
    [InlineData($"{Module}/restartPolicy", "\"sometimes\"", "restartPolicy")]
    [InlineData($"{Module}/status", "null", "status")]
    [InlineData($"{Module}/startupOrder", "-1", "startupOrder")]
    [InlineData($"{Module}/startupOrder", "0", "no later than edgeHub")]
    [InlineData($"{Module}/env", """{"Web.Port":{"value":1}}""", "not a valid variable name")]
    [InlineData($"{Module}/env", """{"Web__Port":9600}""", "has no value")]
    [InlineData($"{Module}/settings/image", "\"\"", "no image")]
    [InlineData($"{Module}/settings/image", "\"${REGISTRY}/x\"", "unresolved placeholder")]
    [InlineData($"{Agent}/modules/sensor-forwarder!", "{}", "not a valid module name")]
    [InlineData($"{Hub}/schemaVersion", "\"1.4\"", "schemaVersion")]
    [InlineData($"{Hub}/routes/a.b", "\"FROM /* INTO $upstream\"", "not a valid route name")]
    [InlineData($"{Hub}/routes/live/priority", "10", "priority")]
    [InlineData($"{Hub}/routes/live/route", "\"FROM /messages/modules/SensorForwarder/outputs/live\"", "is invalid")]
    [InlineData($"{Hub}/routes/live/route", "\"FROM /messages/modules/Other/outputs/live INTO $upstream\"", "not in the manifest")]
    [InlineData($"{Hub}/storeAndForwardConfiguration/storeLimits", "{}", "unknown key storeLimits")]
    [InlineData("SensorForwarder/properties.desired/a.b", "1", "not a valid twin property name")]
    [InlineData("SensorForwarder/properties.desired/a", """{"b":{"c":{"d":{"e":{"f":{"g":{"h":{"i":{"j":{}}}}}}}}}}""", "nested")]
    [InlineData("Other", """{"properties.desired":{}}""", "no module")]
    public void An_invalid_manifest_is_reported_with_the_reason(string path, string json, string expected)
    {
        var manifest = Template.Expand(Repository.Read("deployment.template.json"), "amd64", Repository.Environment());
        var keys = path.Split('/');
        var parent = keys[..^1].Aggregate(manifest["modulesContent"]!, (node, key) => node[key]!);
        parent[keys[^1]] = JsonNode.Parse(json);
        Assert.Contains(ManifestRules.Violations(manifest), violation => violation.Contains(expected, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("""{"HostConfig":{"GroupAdd":["1"],"Tmpfs":{}},"Volumes":{}}""", "Volumes HostConfig.GroupAdd HostConfig.Tmpfs")]
    [InlineData("""{"HostConfig":{"Binds":["/a:/b"]}}""", "")]
    public void Keys_that_iotedgehubdev_ignores_are_found(string createOptions, string expected) =>
        Assert.Equal(expected, string.Join(' ', Hubdev.Dropped(JsonNode.Parse(createOptions)!.AsObject())));

    [Theory]
    [InlineData("""{"HostConfig":{"Devices":[{"PathOnHost":"/dev/a","PathInContainer":"/dev/a"}]}}""", "Devices: CgroupPermissions is missing")]
    [InlineData("""{"HostConfig":{"LogConfig":{"Type":"json-file"}}}""", "LogConfig: Config is missing")]
    [InlineData("""{"Healthcheck":{"Test":["CMD","x"],"Interval":1,"Timeout":1,"Retries":1}}""", "Healthcheck: StartPeriod is missing")]
    public void Missing_keys_that_break_iotedgehubdev_are_found(string createOptions, string expected) =>
        Assert.Equal([expected], Hubdev.Failures(JsonNode.Parse(createOptions)!.AsObject()));

    [Fact]
    public void Long_createOptions_are_split_and_joined()
    {
        var options = new JsonObject { ["Labels"] = new JsonObject { ["a"] = new string('x', 1200) } };
        const string Text = """{"modulesContent":{"$edgeAgent":{"properties.desired":{"systemModules":{},"modules":{"M":{"settings":{"createOptions":HERE}}}}}}}""";
        var settings = Template.Expand(Text.Replace("HERE", options.ToJsonString(), StringComparison.Ordinal), "amd64", new Dictionary<string, string>())
            ["modulesContent"]!["$edgeAgent"]!["properties.desired"]!["modules"]!["M"]!["settings"]!.AsObject();
        Assert.Equal(["createOptions", "createOptions01", "createOptions02"], settings.Select(p => p.Key));
        Assert.Equal(options.ToJsonString(), Template.JoinCreateOptions(settings).ToJsonString());
    }

    [Theory, InlineData("$A/${A}/${B}/$edgeAgent", "1/1/${B}/$edgeAgent")]
    public void Unknown_variables_are_not_expanded(string text, string expected) =>
        Assert.Equal(expected, Template.ExpandVariables(text, new Dictionary<string, string> { ["A"] = "1" }));
}
