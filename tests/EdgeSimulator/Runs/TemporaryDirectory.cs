namespace EdgeSimulator.Runs;

/// <summary>A directory for one run, removed at its end. Its path is short: a Unix socket's path has 107 bytes at most.</summary>
internal sealed class TemporaryDirectory : IDisposable
{
    readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("edge-sim-");

    public string Sub(string name) => Path.Combine(_directory.FullName, name);

    public void Dispose()
    {
        try
        {
            _directory.Delete(recursive: true);
        }
        catch (IOException)
        {
            // A module that was killed a moment ago may still be letting go; the system clears its temporary directory.
        }
    }
}
