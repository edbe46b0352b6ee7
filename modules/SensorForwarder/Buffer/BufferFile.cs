using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging.Abstractions;
using SensorForwarder.Time;

namespace SensorForwarder.Buffer;

/// <summary>Reads the database of a buffer, also while a module writes to it. Used by the command line to export
/// readings and to check the file. Not thread-safe.</summary>
internal sealed class BufferFile : IDisposable
{
    const int MaxPageBytes = 4 << 20;

    readonly DatabaseFile _file;
    readonly Reader _reader;
    readonly History _history;

    BufferFile(DatabaseFile file, StoreView view, ReadingClock clock)
    {
        _file = file;
        View = view;
        _reader = new(clock, file, () => view, static (_, _) => { });
        _history = new(_reader, clock);
    }

    public string Path => _file.Files.Database;

    StoreView View { get; }

    /// <exception cref="BufferUnavailableException">The file is not readable, or the key is wrong.</exception>
    public static BufferFile Open(BufferOptions options, TimeProvider timeProvider)
    {
        Sqlite.CheckVersion();
        var files = new VolumeFiles(System.IO.Path.GetFullPath(options.Directory), null);
        var file = new DatabaseFile(files, options, timeProvider, NullLogger.Instance);
        try
        {
            using var connection = file.OpenReader();
            if (connection.Number("PRAGMA application_id") != Schema.ApplicationId)
                throw new BufferUnavailableException($"{files.Database}: is not a database of this module");
            if (connection.Number("PRAGMA user_version") is var version && version != Schema.FormatVersion)
            {
                throw new BufferUnavailableException(
                    $"{files.Database}: has format {version}, not {Schema.FormatVersion}; use the version of the "
                    + "module that wrote it, or start this version, which imports format 1");
            }
            if (!Schema.IsIntact(connection))
                throw new BufferUnavailableException($"{files.Database}: its tables are not those of this module");
            var check = new Meta(connection, null).KeyCheck;
            using (var cipher = file.NewCipher())
            {
                if (check is not null
                    && DatabaseFile.FindKeyFault(files.Database, options.Key, cipher, check) is { } fault)
                    throw new BufferUnavailableException(fault);
            }
            // The store disposes the connection; nothing is written through it.
            using var store = new Store(connection, check is null ? null : file.NewCipher(), "", new DecodedSegments());
            var clock = new ReadingClock(
                timeProvider, options.KernelTime ?? KernelTime.For(timeProvider), store.Records.LoadClocks());
            return new(file, store.View, clock);
        }
        catch (Exception failure) when (failure is SqliteException or DamagedSegmentException)
        {
            var isDamaged = failure is not SqliteException sqlite || sqlite.IsDamage();
            throw new BufferUnavailableException(
                $"{files.Database}: {(isDamaged ? "is damaged" : "can't be read")} ({failure.Message})", failure);
        }
    }

    /// <summary>Readings after an id, in order of ids; empty at the end.</summary>
    /// <param name="withForwarded">Include readings that were delivered and are still in the file.</param>
    public IReadOnlyList<BufferedReading> Read(long afterId, int maxCount, bool withForwarded) => withForwarded
        ? _history.PeekAny(afterId, maxCount, MaxPageBytes)
        : _reader.PeekBatch(afterId, maxCount, MaxPageBytes);

    /// <summary>The number of readings that <see cref="Read"/> returns in all.</summary>
    public long Count(bool withForwarded) => withForwarded ? View.State.Stored : View.State.Waiting;

    /// <inheritdoc cref="TelemetryBuffer.LoadDocument"/>
    public ReadOnlyMemory<byte>? LoadDocument(string name) => _reader.LoadDocument(name);

    /// <summary>Checks the whole file for damage.</summary>
    /// <returns>The first fault; null when there is none.</returns>
    public string? Check(CancellationToken cancellationToken)
    {
        try
        {
            return _file.Check(cancellationToken);
        }
        catch (SqliteException failure)
        {
            throw new BufferUnavailableException($"{Path}: can't be read ({failure.Message})", failure);
        }
    }

    public void Dispose() => _history.Dispose();
}
