using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using SensorForwarder.Configuration;
using SensorForwarder.Operations;
using SensorForwarder.Operations.Methods;
using SensorForwarder.Options;
using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Configuration;

/// <summary>The documentation and the deployment template describe the settings and methods of the code.</summary>
public sealed partial class DocumentationTests
{
    [Fact]
    public void The_settings_table_matches_the_code() => WrittenFile.CheckTable(
        "docs/settings.md", "| setting |",
        SettingsTable.All.Select(setting => $"| `{setting.Key}` | {Default(setting)} | {Allowed(setting.Option.Shape)} | {setting.Option.Text} |"),
        row => row.StartsWith("| `sensors`", StringComparison.Ordinal));

    [Fact]
    public void The_tables_of_boot_values_match_the_code()
    {
        WrittenFile.CheckTable(
            "docs/settings.md", "| variable |", BootTable.All.Select(Row),
            row => row.StartsWith("| `http_proxy`", StringComparison.Ordinal));
        WrittenFile.CheckTable("docs/metrics.md", "| OTLP variable |", OtlpBootReader.All.Select(Row));

        static string Row(Option option) => $"| `{option.Name}` | {option.DefaultSource ?? (option.Default is { } value ? $"`{value}`" : "none")} | {option.Text} |";
    }

    [Fact]
    public void The_methods_table_matches_the_code() => WrittenFile.CheckTable(
        "docs/operations.md", "| method |",
        MethodTable.All.Select(method => $"| `{method.Name}` | {Request(method)} | {method.Text} | `{method.Answer}` |"));

    [Fact]
    public void The_deployment_template_has_only_valid_settings_with_their_default_values()
    {
        var template = JsonNode.Parse(WrittenFile.Read("deployment.template.json"))!;
        var desired = template["modulesContent"]!["SensorForwarder"]!["properties.desired"]!.AsObject();
        var parser = SettingsFixture.NewParser();
        var parsed = parser.Parse(desired, []);
        Assert.All(parsed.Verdicts, verdict => Assert.Null(verdict.Error));
        Assert.Empty(parsed.UnknownKeys);
        Assert.Equal(desired.Count, parsed.Verdicts.Count(verdict => !verdict.IsDefault));

        // The template shows the default values.
        var defaults = parser.Parse([], []).Verdicts.ToDictionary(verdict => verdict.Key, verdict => verdict.Value);
        Assert.All(desired, pair => Assert.True(JsonNode.DeepEquals(defaults[pair.Key], JsonNode.Parse(pair.Value!.ToJsonString())),
            $"{pair.Key}: the template has {pair.Value.ToJsonString()}, the default is {defaults[pair.Key]?.ToJsonString()}"));
    }

    [Fact]
    public void Every_sensor_example_in_the_documentation_is_accepted()
    {
        var examples = JsonBlocks().Matches(WrittenFile.Read("docs/sensors.md")).Select(match => JsonNode.Parse(match.Groups[1].Value)!.AsObject())
            .Where(example => example.ContainsKey("sensors")).ToList();
        Assert.NotEmpty(examples);
        foreach (var example in examples)
        {
            var parsed = SettingsFixture.NewParser().Parse(example, []);
            Assert.All(parsed.Verdicts, verdict => Assert.Null(verdict.Error));
            Assert.Empty(parsed.UnknownKeys);
        }
    }

    [GeneratedRegex("```json\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex JsonBlocks();

    [Fact]
    public void The_sensor_states_named_in_the_documentation_exist()
    {
        var named = new[] { "docs/operations.md", "docs/raspberry-pi.md" }
            .SelectMany(page => SensorStates().Matches(WrittenFile.Read(page)))
            .Select(match => match.Groups[1].Value).ToList();
        Assert.NotEmpty(named);
        Assert.All(named, state => Assert.Contains(state, Enum.GetNames<SensorState>()));
    }

    [GeneratedRegex("""(?:sensors? `|"state":"|"sensorStates":\{")([A-Z][A-Za-z]+)""")]
    private static partial Regex SensorStates();

    static string Default(SettingDefinition setting) => setting.Option.DefaultSource ?? (setting.Option.Default is { } value ? $"`{value}`" : "none");

    /// <summary>The values of a setting in a table.</summary>
    internal static string Allowed(OptionShape shape) => shape switch
    {
        OptionShape.Flag => "`true`, `false`",
        OptionShape.WholeNumber(var min, var max) => $"{min}..{max}",
        OptionShape.Number(var min, var max) => string.Create(CultureInfo.InvariantCulture, $"{min}..{max}"),
        OptionShape.Choice(var names) => string.Join(", ", names.Select(name => $"`{name}`")),
        OptionShape.HttpUrl => "absolute http or https URL without user and password",
        _ => shape.Allowed,
    };

    static string Request(MethodDefinition method) => method.Parameters.Count == 0
        ? method.Name == "validateSettings" ? "settings" : ""
        : string.Join("<br>", method.Parameters.Select(parameter =>
            $"`{parameter.Name}` ({Allowed(parameter.Shape)}; default: {parameter.DefaultSource ?? $"`{parameter.Default}`"}): {parameter.Text}"));
}
