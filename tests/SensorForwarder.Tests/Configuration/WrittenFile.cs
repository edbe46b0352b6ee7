namespace SensorForwarder.Tests.Configuration;

/// <summary>A file of the repository, or a table in one, that is generated from the code. A test compares it with the code; with the
/// environment variable <c>WRITE_FILES=1</c> the test writes it instead.</summary>
internal static class WrittenFile
{
    const string Variable = "WRITE_FILES";

    /// <summary>The folder of the solution.</summary>
    public static string Root { get; } = FindRoot();

    public static string Read(string path) => File.ReadAllText(Path.Combine(Root, path));

    /// <summary>Checks that the file has exactly this content.</summary>
    public static void Check(string path, string content)
    {
        var full = Path.Combine(Root, path);
        if (Environment.GetEnvironmentVariable(Variable) == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(full)!);
            File.WriteAllText(full, content);
            return;
        }

        Compare(path, content, File.Exists(full) ? File.ReadAllText(full) : "");
    }

    /// <summary>Checks that a table in the file has exactly these rows.</summary>
    /// <param name="path">The file.</param>
    /// <param name="header">How the first line of the table begins.</param>
    /// <param name="rows">The lines below the header.</param>
    /// <param name="isOther">Rows at the end that are not generated.</param>
    public static void CheckTable(string path, string header, IEnumerable<string> rows, Func<string, bool>? isOther = null)
    {
        var lines = File.ReadAllLines(Path.Combine(Root, path)).ToList();
        var start = lines.FindIndex(line => line.StartsWith(header, StringComparison.Ordinal)) + 2;
        Assert.True(start > 1, $"{path} has no table '{header}'");
        var written = lines.Skip(start).TakeWhile(line => line.StartsWith('|') && isOther?.Invoke(line) != true).ToList();
        if (Environment.GetEnvironmentVariable(Variable) == "1")
        {
            lines.RemoveRange(start, written.Count);
            lines.InsertRange(start, rows);
            File.WriteAllLines(Path.Combine(Root, path), lines);
            return;
        }

        Compare(path, string.Join('\n', rows), string.Join('\n', written));
    }

    static void Compare(string path, string expected, string written)
    {
        if (written == expected) return;
        var (a, b) = (expected.Split('\n'), written.Split('\n'));
        var at = Enumerable.Range(0, Math.Max(a.Length, b.Length)).First(i => i >= a.Length || i >= b.Length || a[i] != b[i]);
        Assert.Fail(
            $"{path} does not match the code. The code: '{a.ElementAtOrDefault(at)}'. The file: '{b.ElementAtOrDefault(at)}'.\n" +
            $"To regenerate it: {Variable}=1 dotnet run --project tests/SensorForwarder.Tests -- -namespace SensorForwarder.Tests.Configuration");
    }

    static string FindRoot()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "EdgeSolution.sln"))) directory = Path.GetDirectoryName(directory)!;
        return directory;
    }
}
