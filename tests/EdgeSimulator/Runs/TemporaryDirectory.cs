namespace EdgeSimulator.Runs;

/// <summary>A directory that exists for one run. Its path is short, since a Unix socket's path is limited to 107
/// bytes.</summary>
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
            // A module killed just now may still hold files open. The system cleans its temporary directory.
        }
    }
}
