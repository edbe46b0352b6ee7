using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Files;
using SensorForwarder.Text;

namespace SensorForwarder.Configuration;

/// <summary>
/// Watches the settings file. inotify signals a rewrite, an atomic replace, and the symbolic links that Kubernetes
/// swaps; the file is read <see cref="Settles"/> later. Changes that the kernel does not signal, as on a network file
/// system, are found by reading it every <see cref="LookEvery"/>. A missing or invalid file is ignored; at start the
/// last good one is used instead. One dedicated thread reads it, since a file system that does not answer can block the
/// reader. Others wait at most <see cref="ReadTimeout"/>.
/// </summary>
internal sealed class SettingsFile(
    BootOptions boot, SettingsStore store, TimeProvider timeProvider, ILogger<SettingsFile> logger) : BackgroundService
{
    public const int MaxBytes = 1 << 20;
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(30);

    // While something is wrong with the file, or its directory can't be watched.
    static readonly TimeSpan LookSoon = TimeSpan.FromSeconds(1);

    // From the first signal of a change to reading it: an editor and a ConfigMap make several in a row.
    static readonly TimeSpan Settles = TimeSpan.FromMilliseconds(500);
    static readonly TimeSpan ReadTimeout = TimeSpan.FromSeconds(5);

    // Requests to the reading thread.
    readonly BlockingCollection<(string Path, TaskCompletionSource<byte[]> Reading)> _requests = [];
    bool _hasThread;
    volatile bool _isWatched; // set by that thread

    FileWatch? _watch; // null: no file, or no inotify instance is left for this user
    volatile TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    Task<byte[]>? _reading; // null once its result was taken
    byte[]? _last; // the content that was handled last; null: the next look handles it again
    string? _problemOfLast;

    /// <summary>Applies settings before the host starts the services after this one: those of the file, or, if it can't
    /// be read, those of the last run.</summary>
    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        if (boot.SettingsFile is not null) _watch = FileWatch.TryStart(() => _changed.TrySetResult());
        if (boot.SettingsFile is not { } path) await store.StartAsync([], cancellationToken);
        else if (!await LookAsync(path, cancellationToken)) await store.StartAsync(file: null, cancellationToken);
        await base.StartAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (boot.SettingsFile is not { } path) return;
        while (true)
        {
            var wait = _isWatched && store.FileProblem is null ? LookEvery : LookSoon;
            var changed = _changed.Task;
            await changed.WaitAsync(wait, timeProvider, stoppingToken)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            stoppingToken.ThrowIfCancellationRequested();
            if (changed.IsCompleted)
            {
                await Task.Delay(Settles, timeProvider, stoppingToken);

                // Replaced before the file is read, so that a change during the read causes another one.
                _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
            }

            await LookAsync(path, stoppingToken);
        }
    }

    public override void Dispose()
    {
        _watch?.Dispose();
        base.Dispose();
    }

    /// <summary>Reads the file, and takes its settings if the content has changed since the last look.</summary>
    /// <returns>Whether settings were taken.</returns>
    async Task<bool> LookAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            var bytes = await ReadAsync(path, cancellationToken);
            var document = _last is not null && bytes.AsSpan().SequenceEqual(_last) ? null : Parse(bytes);
            if (document is not null)
            {
                // Logged first: the document may raise the log level.
                ConfigurationLog.SettingsFileRead(logger, path);
                await store.OfferFileAsync(document, cancellationToken);
            }

            _last = bytes;
            Note(path, _problemOfLast, isTaken: document is not null);
            return document is not null;
        }
        catch (TimeoutException)
        {
            Note(path, $"no answer from its file system for {ReadTimeout.TotalSeconds} s", isTaken: false);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            Note(path, LogText.Clean(exception.Message).TrimEnd('.'), isTaken: false);
            _last = null; // so that the next check, which follows soon, reads it
        }

        return false;
    }

    JsonObject? Parse(byte[] bytes)
    {
        _problemOfLast = null;
        if (bytes.Length > MaxBytes) _problemOfLast = $"it has more than {MaxBytes} bytes";
        return _problemOfLast is null ? DocumentReader.Read(bytes, out _problemOfLast) : null;
    }

    /// <summary>Logs when a problem begins, changes or ends.</summary>
    void Note(string path, string? problem, bool isTaken)
    {
        var before = store.FileProblem;
        store.FileProblem = problem;
        if (problem is null && before is not null && !isTaken) ConfigurationLog.SettingsFileRead(logger, path);
        else if (problem is not null && problem != before) ConfigurationLog.SettingsFileBad(logger, path, problem);
    }

    /// <exception cref="TimeoutException">The read is still in progress; the next call waits for it.</exception>
    async Task<byte[]> ReadAsync(string path, CancellationToken cancellationToken)
    {
        var reading = _reading ??= StartReading(path);
        await Task.WhenAny(reading).WaitAsync(ReadTimeout, timeProvider, cancellationToken);
        _reading = null;
        return await reading;
    }

    Task<byte[]> StartReading(string path)
    {
        if (!_hasThread) new Thread(ReadRequests) { Name = "settings file", IsBackground = true }.Start();
        _hasThread = true;
        var reading = new TaskCompletionSource<byte[]>(TaskCreationOptions.RunContinuationsAsynchronously);
        _requests.Add((path, reading));
        return reading.Task;
    }

    void ReadRequests()
    {
        foreach (var (path, reading) in _requests.GetConsumingEnumerable())
        {
            try
            {
                _isWatched = _watch?.Follow(path) == true;
                reading.SetResult(ReadBytes(path));
            }
            catch (Exception exception)
            {
                reading.SetException(exception);
            }
        }
    }

    /// <summary>Reads at most one byte more than <see cref="MaxBytes"/>.</summary>
    static byte[] ReadBytes(string path)
    {
        using var file = RegularFile.OpenRead(path);
        var bytes = new byte[Math.Clamp(file.Length, 0, MaxBytes) + 1];
        var length = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        return bytes[..length];
    }
}
