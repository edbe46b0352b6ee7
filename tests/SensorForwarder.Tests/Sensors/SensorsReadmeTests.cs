using SensorForwarder.Sensors;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Sensors;

/// <summary>What the READMEs say about kinds of sensors and their options is what the code does.</summary>
public sealed class SensorsReadmeTests
{
    const string SensorsReadme = "modules/SensorForwarder/Sensors/README.md";

    static string Row(string prefix, SensorOption option)
    {
        var standard = option.DefaultSource ?? (option.Default is { } value ? $"`{value.ToJsonString()}`" : option.IsRequired ? "required" : "none");
        return $"| {prefix}`{option.Name}` | {option.Shape.Allowed} | {standard} | {option.Text} |";
    }

    [Fact]
    public void The_table_of_kinds_is_the_one_in_the_code() => WrittenFile.CheckTable(
        "README.md",
        "| kind | is | options |",
        SensorKinds.All.Select(kind =>
            $"| `{kind.Name}` | {kind.Text} | {string.Join(", ", kind.Options.Select(option => $"`{option.Name}`"))} |"));

    [Fact]
    public void The_table_of_common_options_is_the_one_in_the_code() => WrittenFile.CheckTable(
        SensorsReadme,
        "| option | allowed | default | what it does |",
        CommonOptions.All.Select(option => Row("", option)));

    [Fact]
    public void The_table_of_options_is_the_one_in_the_code() => WrittenFile.CheckTable(
        SensorsReadme,
        "| kind | option | allowed | default | what it does |",
        SensorKinds.All.SelectMany(kind => kind.Options.Select(option => Row($"`{kind.Name}` | ", option))));

    [Fact]
    public void The_table_of_values_is_the_one_in_the_code() => WrittenFile.CheckTable(
        SensorsReadme,
        "| kind | values |",
        SensorKinds.All.Where(kind => kind.Values.Count > 0).Select(kind =>
            $"| `{kind.Name}` | {string.Join(", ", kind.Values.Select(value => $"`{value.Name}` ({value.Unit})"))} |"));
}
