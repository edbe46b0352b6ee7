using SensorForwarder.Options;
using SensorForwarder.Sensors;
using SensorForwarder.Sensors.Modbus;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Sensors;

/// <summary>The READMEs' statements about sensor kinds and their options match the code.</summary>
public sealed class SensorsReadmeTests
{
    const string SensorsReadme = "modules/SensorForwarder/Sensors/README.md";

    static string Row(string prefix, Option option)
    {
        var standard = option.DefaultSource ?? (option.Default is { } value ? $"`{value.ToJsonString()}`" : option.IsRequired ? "required" : "none");
        return $"| {prefix}`{option.Name}` | {option.Shape.Allowed} | {standard} | {option.Text} |";
    }

    [Fact]
    public void The_table_of_kinds_matches_the_code() => WrittenFile.CheckTable(
        "docs/settings.md",
        "| kind | is | options |",
        Module.SensorKinds.All.Select(kind =>
            $"| `{kind.Name}` | {kind.Text} | {string.Join(", ", kind.Options.Select(option => $"`{option.Name}`"))} |"));

    [Fact]
    public void The_table_of_common_options_matches_the_code() => WrittenFile.CheckTable(
        SensorsReadme,
        "| option | allowed | default | what it does |",
        CommonOptions.All.Select(option => Row("", option)));

    [Fact]
    public void The_table_of_options_matches_the_code() => WrittenFile.CheckTable(
        SensorsReadme,
        "| kind | option | allowed | default | what it does |",
        Module.SensorKinds.All.SelectMany(kind => kind.Options.Select(option => Row($"`{kind.Name}` | ", option))));

    [Fact]
    public void The_table_of_the_options_of_a_Modbus_value_matches_the_code() => WrittenFile.CheckTable(
        SensorsReadme,
        "| option of a value | allowed | default | what it does |",
        ModbusValue.Options.Select(option => Row("", option)));

    [Fact]
    public void The_table_of_the_options_of_an_alarm_matches_the_code() => WrittenFile.CheckTable(
        "docs/alarms.md",
        "| option of an alarm | allowed | default | what it does |",
        AlarmRule.Options.Select(option => Row("", option)));

    [Fact]
    public void The_table_of_values_matches_the_code() => WrittenFile.CheckTable(
        SensorsReadme,
        "| kind | connected by | values |",
        Module.SensorKinds.All.Select(kind =>
            $"| `{kind.Name}` | {kind.Connection} | {(kind.Values.Count > 0 ? string.Join(", ", kind.Values.Select(Describe)) : "those of the device, or of the settings")} |"));

    static string Describe(SensorValue value) =>
        $"`{value.Name}` ({value.Unit}{(value.Range.Length > 0 ? $", {value.Range}" : "")})";
}
