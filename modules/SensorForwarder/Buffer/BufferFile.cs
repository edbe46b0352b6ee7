using Microsoft.Extensions.Logging.Abstractions;

namespace SensorForwarder.Buffer;

/// <summary>Reads a buffer's database beside whoever writes it, for a person: exports and checks. One thread.</summary>
internal sealed class BufferFile : IDisposable
{
    const int MaxPageBytes = 4 << 20;

    readonly DatabaseFile _file;
    readonly BatchReader _reader;

    BufferFile(DatabaseFile file, string epoch, BatchReader reader) => (_file, Epoch, _reader) = (file, epoch, reader);

    public string Epoch { get; }

    public string Path => _file.Files.Database;

    /// <exception cref="BufferUnavailableException">It can't be read, or the key does not fit.</exception>
    public static BufferFile Open(BufferOptions options, TimeProvider timeProvider)
    {
        SqliteConnection.CheckVersion();
        var files = new VolumeFiles(System.IO.Path.GetFullPath(options.Directory), null);
        var file = new DatabaseFile(files, options, timeProvider, NullLogger.Instance);
        try
        {
            using var connection = file.OpenReader();
            using var cipher = file.NewCipher();
            if (connection.QueryNumber("PRAGMA application_id") != BufferSchema.ApplicationId)
                throw new BufferUnavailableException($"{files.Database}: is not a buffer's database");
            if (connection.QueryText(DatabaseFile.KeyCheckQuery) is { } check
                && DatabaseFile.FaultOfKey(files.Database, options.Key, cipher, check) is { } fault)
            {
                throw new BufferUnavailableException(fault);
            }

            var epoch = connection.QueryText("SELECT value FROM meta WHERE name = 'epoch'") ?? "";
            var clock = new ReadingClock(
                timeProvider, options.KernelTime ?? KernelTime.For(timeProvider), QueueStore.LoadClocks(connection));
            return new(file, epoch, new BatchReader(clock, file.OpenReader, static _ => { }, file.NewCipher()));
        }
        catch (SqliteFailure failure)
        {
            throw new BufferUnavailableException($"{files.Database}: can't be read ({failure.Message})", failure);
        }
    }

    /// <summary>Readings after an id, in the order of ids; empty at the end.</summary>
    /// <param name="withForwarded">Also those that were forwarded and are still there.</param>
    public IReadOnlyList<BufferedReading> Read(long afterId, int maxCount, bool withForwarded) => withForwarded
        ? _reader.PeekAny(afterId, maxCount, MaxPageBytes)
        : _reader.PeekBatch(afterId, maxCount, MaxPageBytes);

    /// <summary>How many there are.</summary>
    public long Count(bool withForwarded) => withForwarded ? _reader.CountAny() : _reader.Count();

    /// <summary>Reads the whole file in search of damage.</summary>
    /// <returns>The first fault; null when there is none.</returns>
    public string? Check(CancellationToken cancellationToken)
    {
        try
        {
            return _file.Check(cancellationToken);
        }
        catch (SqliteFailure failure) when (failure.IsDamage)
        {
            return failure.Message;
        }
        catch (SqliteFailure failure)
        {
            throw new BufferUnavailableException($"{Path}: can't be read ({failure.Message})", failure);
        }
    }

    public void Dispose() => _reader.Dispose();
}
