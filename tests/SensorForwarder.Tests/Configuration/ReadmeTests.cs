using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using SensorForwarder.Configuration;
using SensorForwarder.Operations;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Configuration;

/// <summary>What README and the deployment template say about settings and methods is what the code does.</summary>
public sealed partial class ReadmeTests
{
    [Fact]
    public void The_settings_table_is_the_one_in_the_code() => WrittenFile.CheckTable(
        "README.md", "| setting |",
        SettingsTable.All.Select(setting => $"| `{setting.Key}` | {Default(setting)} | {setting.Allowed} | {setting.Text} |"),
        row => row.StartsWith("| `sensors`", StringComparison.Ordinal));

    [Fact]
    public void The_methods_table_is_the_one_in_the_code() => WrittenFile.CheckTable(
        "README.md", "| method |",
        MethodTable.All.Select(method => $"| `{method.Name}` | {Request(method)} | {method.Text} | `{method.Answer}` |"));

    [Fact]
    public void The_deployment_template_has_only_settings_that_the_module_takes_and_they_are_the_defaults()
    {
        var template = JsonNode.Parse(WrittenFile.Read("deployment.template.json"))!;
        var desired = template["modulesContent"]!["SensorForwarder"]!["properties.desired"]!.AsObject();
        var parser = SettingsFixture.NewParser();
        var parsed = parser.Parse(desired, []);
        Assert.All(parsed.Verdicts, verdict => Assert.Null(verdict.Error));
        Assert.Empty(parsed.UnknownKeys);
        Assert.Equal(desired.Count, parsed.Verdicts.Count(verdict => !verdict.IsDefault));

        // Somebody who reads the template sees what holds anyway.
        var defaults = parser.Parse([], []).Verdicts.ToDictionary(verdict => verdict.Key, verdict => verdict.Value);
        Assert.All(desired, pair => Assert.True(JsonNode.DeepEquals(defaults[pair.Key], JsonNode.Parse(pair.Value!.ToJsonString())),
            $"{pair.Key}: {pair.Value.ToJsonString()} stands in the template, {defaults[pair.Key]?.ToJsonString()} is the default"));
    }

    [Fact]
    public void The_states_of_sensors_that_the_documentation_names_are_those_of_the_code()
    {
        var named = new[] { "README.md", "docs/raspberry-pi.md" }
            .SelectMany(page => SensorStates().Matches(WrittenFile.Read(page)))
            .Select(match => match.Groups[1].Value).ToList();
        Assert.NotEmpty(named);
        Assert.All(named, state => Assert.Contains(state, Enum.GetNames<SensorState>()));
    }

    [GeneratedRegex("""(?:sensors? `|"state":"|"sensorStates":\{")([A-Z][A-Za-z]+)""")]
    private static partial Regex SensorStates();

    static string Default(SettingDefinition setting) => setting.DefaultSource ?? $"`{setting.Get(new Settings())}`";

    static string Request(MethodDefinition method) => method.Parameters.Count == 0
        ? method.Name == "validateSettings" ? "settings" : ""
        : string.Join("<br>", method.Parameters.Select(parameter => $"`{parameter.Name}`: {parameter.Text}"));
}
