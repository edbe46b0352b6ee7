using System.Text.RegularExpressions;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Conventions;

public sealed class SourceStyleTests
{
    const int MaxColumns = 120;

    // In two halves, so that this file does not name them.
    static readonly string[] RegistryHosts =
    [
        "nuget" + ".org", "npmjs" + ".org", "npmjs" + ".com", "pypi" + ".org", "pythonhosted" + ".org", "deb.debian" + ".org",
        "crates" + ".io", "maven" + ".org", "archive.ubuntu" + ".com",
    ];

    static IEnumerable<(string Text, string Where)> ModuleLines => SourceFiles.CSharp
        .Where(path => path.StartsWith(SourceFiles.Module, StringComparison.Ordinal))
        .SelectMany(path => SourceFiles.Lines(path).Select((line, i) => (line, $"{path}:{i + 1}")));

    [Fact]
    public void No_line_of_the_module_is_longer_than_120_columns() => Assert.Equal([], ModuleLines
        .Where(line => line.Text.Length > MaxColumns)
        .Select(line => $"{line.Where} has {line.Text.Length} columns"));

    [Fact]
    public void The_source_of_the_module_is_ASCII() => Assert.Equal([], ModuleLines
        .Where(line => line.Text.Any(c => c > '~'))
        .Select(line => line.Where));

    [Fact]
    public void A_file_is_named_after_a_type_in_it() => Assert.Equal([], SourceFiles.CSharp
        .Where(path => Path.GetFileName(path) != "Program.cs")
        .Where(path =>
        {
            var name = Path.GetFileNameWithoutExtension(path).Split('.')[0];
            var declaration = new Regex($@"\b(class|record|struct|interface|enum|delegate \S+) ({name}|{name}Attribute)\b");
            return !SourceFiles.Lines(path).Any(declaration.IsMatch);
        }));

    [Fact]
    public void No_two_log_messages_have_the_same_event_id() => Assert.Equal([], SourceFiles.CSharp
        .SelectMany(path => SourceFiles.Lines(path).SelectMany(line => Regex.Matches(line, @"LoggerMessage\((\d+)")))
        .GroupBy(match => match.Groups[1].Value)
        .Where(group => group.Count() > 1)
        .Select(group => group.Key));

    [Fact]
    public void No_tracked_file_names_the_host_of_a_package_registry() => Assert.Equal([], SourceFiles.Tracked
        .Where(path => Path.GetExtension(path) is not (".png" or ".db"))
        .Where(path =>
        {
            var text = File.ReadAllText(Path.Combine(WrittenFile.Root, path));
            return RegistryHosts.Any(host => text.Contains(host, StringComparison.OrdinalIgnoreCase));
        }));
}
