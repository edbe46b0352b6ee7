using System.Diagnostics;
using SensorForwarder.Tests.Configuration;

namespace SensorForwarder.Tests.Conventions;

/// <summary>The files that git tracks, by path from the root of the repository.</summary>
internal static class SourceFiles
{
    public const string Module = "modules/SensorForwarder/";

    public static IReadOnlyList<string> Tracked { get; } = List();

    public static IEnumerable<string> CSharp => Tracked.Where(path => path.EndsWith(".cs", StringComparison.Ordinal));

    public static string[] Lines(string path) => File.ReadAllLines(Path.Combine(WrittenFile.Root, path));

    static string[] List()
    {
        var start = new ProcessStartInfo("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        {
            RedirectStandardOutput = true,
            WorkingDirectory = WrittenFile.Root,
        };
        using var git = Process.Start(start)!;
        var output = git.StandardOutput.ReadToEnd();
        git.WaitForExit();
        Assert.Equal(0, git.ExitCode);
        return [.. output.Split('\0', StringSplitOptions.RemoveEmptyEntries)
            .Where(path => File.Exists(Path.Combine(WrittenFile.Root, path)))];
    }
}
