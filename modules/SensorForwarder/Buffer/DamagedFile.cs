namespace SensorForwarder.Buffer;

/// <summary>A damaged database with its log, open for reading by bytes.</summary>
internal sealed class DamagedFile : IDisposable
{
    readonly Stream _database;
    readonly Stream _log;

    public DamagedFile(string path, string logPath)
    {
        _database = Open(path);
        _log = Open(logPath);
        Scanner = new PageScanner(_database, _log.Length > 0 ? WalFile.Read(_log) : null);
    }

    public PageScanner Scanner { get; }

    public void Dispose()
    {
        _database.Dispose();
        _log.Dispose();
    }

    static Stream Open(string path) => File.Exists(path)
        ? new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1 << 16)
        : new MemoryStream();
}
