using System.Text.RegularExpressions;

namespace SensorForwarder.Tests.Conventions;

/// <summary>The allowed dependencies between the folders of the module, checked by the namespaces that their files use.</summary>
public sealed class FolderDependencyTests
{
    // A folder may use the folders in the lines above its own line.
    static readonly string[][] Layers =
    [
        ["Files", "Text", "Time"],
        ["Net", "Options"],
        ["Readings"],
        ["Buffer"],
        ["EdgeHub", "Sensors"],
        ["Forwarding", "Intake"],
        ["Configuration"],
        ["Operations"],
    ];

    [Fact]
    public void A_folder_uses_only_folders_of_lower_layers_and_none_of_its_own_subfolders()
    {
        var violations = SourceFiles.CSharp
            .Where(path => path.StartsWith(SourceFiles.Module, StringComparison.Ordinal))
            .Select(path => path[SourceFiles.Module.Length..])
            .SelectMany(path => Namespaces(path).Where(used => !IsAllowed(path, used)).Select(used => $"{path} uses {used}"))
            .Order(StringComparer.Ordinal);
        Assert.Equal([], violations);
    }

    // Module is in the namespace above all others, so no "using" shows who uses it.
    [Fact]
    public void Only_Program_uses_the_composition_root() => Assert.Equal(["Program.cs"], SourceFiles.CSharp
        .Where(path => path.StartsWith(SourceFiles.Module, StringComparison.Ordinal))
        .Where(path => SourceFiles.Lines(path).Any(line => Regex.IsMatch(line, @"\bModule\.[A-Z]")))
        .Select(path => path[SourceFiles.Module.Length..]));

    [Theory]
    [InlineData("Forwarding/A.cs", "Buffer", true)]
    [InlineData("Forwarding/A.cs", "EdgeHub.Upstream", true)]
    [InlineData("Forwarding/A.cs", "Intake", false)]
    [InlineData("Forwarding/A.cs", "Configuration", false)]
    [InlineData("Sensors/Drivers/A.cs", "Sensors", true)]
    [InlineData("Sensors/A.cs", "Sensors.Drivers", false)]
    [InlineData("A.cs", "Buffer", false)]
    [InlineData("Program.cs", "Operations", true)]
    [InlineData("Elsewhere/A.cs", "Text", false)]
    public void The_check_of_folder_dependencies_accepts_only_lower_layers(string path, string used, bool isAllowed) =>
        Assert.Equal(isAllowed, IsAllowed(path, used));

    static IEnumerable<string> Namespaces(string path) => SourceFiles.Lines(SourceFiles.Module + path)
        .SelectMany(line => Regex.Matches(line, @"^using (?:static |\w+ = )?SensorForwarder\.([\w.]+);|[^.\w]SensorForwarder\.([A-Z]\w+)\.[A-Z]"))
        .Select(match => Trim(match.Groups[1].Success ? match.Groups[1].Value : match.Groups[2].Value))
        .Distinct();

    // "using static" and aliases name a type after the namespace.
    static string Trim(string name)
    {
        var parts = name.Split('.');
        var folder = Path.Combine(Configuration.WrittenFile.Root, SourceFiles.Module);
        var count = 0;
        while (count < parts.Length && Directory.Exists(folder = Path.Combine(folder, parts[count]))) count++;
        return string.Join('.', parts[..Math.Max(1, count)]);
    }

    static bool IsAllowed(string path, string used)
    {
        if (path is "Program.cs" or "Module.cs") return true;
        var own = (Path.GetDirectoryName(path) ?? "").Replace('/', '.');
        var (ownTop, usedTop) = (own.Split('.')[0], used.Split('.')[0]);
        if (ownTop == usedTop) return !used.StartsWith(own + ".", StringComparison.Ordinal);
        return ownTop.Length > 0 && Layer(usedTop) >= 0 && Layer(usedTop) < Layer(ownTop);
    }

    static int Layer(string folder) => Array.FindIndex(Layers, layer => layer.Contains(folder));
}
