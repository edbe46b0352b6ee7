using SensorForwarder.Sensors;

namespace SensorForwarder.Tests.Sensors;

/// <summary>What the READMEs say about kinds of sensors and their options is what the code does.</summary>
public sealed class SensorsReadmeTests
{
    const string SensorsReadme = "modules/SensorForwarder/Sensors/README.md";

    static string[] Lines(string path)
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "EdgeSolution.sln"))) directory = Path.GetDirectoryName(directory)!;
        return File.ReadAllLines(Path.Combine(directory, path));
    }

    static void AssertTable(string path, string header, IEnumerable<string> rows)
    {
        var lines = Lines(path);
        var start = Array.IndexOf(lines, header);
        Assert.True(start >= 0, $"{path} has no line {header}");
        var expected = rows.ToList();
        var written = lines.Skip(start + 2).TakeWhile(line => line.StartsWith('|'));
        Assert.True(written.SequenceEqual(expected), $"{path}: the table should be\n{header}\n{string.Join('\n', expected)}\n");
    }

    static string Row(string prefix, SensorOption option)
    {
        var standard = option.DefaultSource ?? (option.Default is { } value ? $"`{value.ToJsonString()}`" : option.IsRequired ? "required" : "none");
        return $"| {prefix}`{option.Name}` | {option.Shape.Allowed} | {standard} | {option.Text} |";
    }

    [Fact]
    public void The_table_of_kinds_is_the_one_in_the_code() => AssertTable(
        "README.md",
        "| kind | is | options |",
        SensorKinds.All.Select(kind =>
            $"| `{kind.Name}` | {kind.Text} | {string.Join(", ", kind.Options.Select(option => $"`{option.Name}`"))} |"));

    [Fact]
    public void The_table_of_common_options_is_the_one_in_the_code() => AssertTable(
        SensorsReadme,
        "| option | allowed | default | what it does |",
        CommonOptions.All.Select(option => Row("", option)));

    [Fact]
    public void The_table_of_options_is_the_one_in_the_code() => AssertTable(
        SensorsReadme,
        "| kind | option | allowed | default | what it does |",
        SensorKinds.All.SelectMany(kind => kind.Options.Select(option => Row($"`{kind.Name}` | ", option))));

    [Fact]
    public void The_table_of_values_is_the_one_in_the_code() => AssertTable(
        SensorsReadme,
        "| kind | values |",
        SensorKinds.All.Where(kind => kind.Values.Count > 0).Select(kind =>
            $"| `{kind.Name}` | {string.Join(", ", kind.Values.Select(value => $"`{value.Name}` ({value.Unit})"))} |"));
}
