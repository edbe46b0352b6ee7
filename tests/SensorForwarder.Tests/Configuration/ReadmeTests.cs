using System.Text.Json.Nodes;
using SensorForwarder.Configuration;

namespace SensorForwarder.Tests.Configuration;

/// <summary>What README says about settings and boot values is what the code does.</summary>
public sealed class ReadmeTests
{
    static readonly string Root = FindRoot();

    static string FindRoot()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "EdgeSolution.sln"))) directory = Path.GetDirectoryName(directory)!;
        return directory;
    }

    static string[] Readme => File.ReadAllLines(Path.Combine(Root, "README.md"));

    [Fact]
    public void The_settings_table_is_the_one_in_the_code()
    {
        var defaults = new Settings();
        var expected = SettingsTable.All.Select(setting =>
            $"| `{setting.Key}` | {setting.DefaultSource ?? $"`{Text(setting.Get(defaults))}`"} | {setting.Allowed} | {setting.Text} |");
        var start = Array.FindIndex(Readme, line => line.StartsWith("| setting |", StringComparison.Ordinal)) + 2;
        var written = Readme.Skip(start).TakeWhile(line => line.StartsWith('|') && !line.StartsWith("| `sensors`", StringComparison.Ordinal));
        Assert.Equal(string.Join('\n', expected), string.Join('\n', written));
    }

    [Fact]
    public void The_deployment_template_has_only_settings_that_the_module_takes()
    {
        var template = JsonNode.Parse(File.ReadAllText(Path.Combine(Root, "deployment.template.json")))!;
        var desired = template["modulesContent"]!["SensorForwarder"]!["properties.desired"]!.AsObject();
        var parser = new SettingsParser(
            new Settings { Forwarding = new() { Sink = SensorForwarder.Forwarding.SinkKind.IotHub } }, hasIdentity: true,
            new(new(new("/proc", "/sys", "/tmp"), TimeProvider.System)));
        var parsed = parser.Parse(desired, []);
        Assert.All(parsed.Verdicts, verdict => Assert.Null(verdict.Error));
        Assert.Empty(parsed.UnknownKeys);
        Assert.Equal(desired.Count, parsed.Verdicts.Count(verdict => !verdict.IsDefault));
    }

    static string Text(JsonNode? value) => value is JsonValue text && text.TryGetValue<string>(out var s) ? s : value?.ToJsonString() ?? "";
}
