using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Configuration;

/// <summary>
/// Watches the settings file by reading it twice a second: that sees a rewrite, an atomic replace, and the symbolic
/// links that Kubernetes swaps, on every file system, and costs nothing while it is in the page cache. A file that is
/// missing or no JSON changes nothing; at the start the last good one stands in for it. It is read on a thread of its
/// own, which may hang in a file system that does not answer: nothing waits longer than <see cref="ReadTimeout"/> for
/// it, and no second thread is started beside it.
/// </summary>
internal sealed class SettingsFile(
    BootOptions boot, SettingsStore store, TimeProvider timeProvider, ILogger<SettingsFile> logger) : BackgroundService
{
    public const int MaxBytes = 1 << 20;
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(500);
    static readonly TimeSpan ReadTimeout = TimeSpan.FromSeconds(5);

    // For the thread that reads, which is the only one that may hang.
    readonly BlockingCollection<(string Path, TaskCompletionSource<byte[]> Reading)> _requests = [];
    bool _hasThread;

    Task<byte[]>? _reading; // has not ended, or not been looked at
    byte[]? _last;
    string? _problemOfLast;

    /// <summary>What was accepted last time comes into force before anything is read.</summary>
    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        if (boot.SettingsFile is not { } path) await store.StartAsync([], cancellationToken);
        else if (!await LookAsync(path, cancellationToken)) await store.StartAsync(file: null, cancellationToken);
        await base.StartAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (boot.SettingsFile is not { } path) return;
        using var timer = new PeriodicTimer(LookEvery, timeProvider);
        while (await timer.WaitForNextTickAsync(stoppingToken)) await LookAsync(path, stoppingToken);
    }

    /// <summary>Takes what the file holds, if that is something else than at the last look.</summary>
    /// <returns>Whether it was taken.</returns>
    async Task<bool> LookAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            var bytes = await ReadAsync(path, cancellationToken);
            var document = _last is not null && bytes.AsSpan().SequenceEqual(_last) ? null : Parse(bytes);
            if (document is not null)
            {
                // First, since the document may turn such lines off.
                Log.SettingsFileRead(logger, path);
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
            _last = null; // so that it is taken at the next look
        }

        return false;
    }

    JsonObject? Parse(byte[] bytes)
    {
        _problemOfLast = null;
        if (bytes.Length > MaxBytes) _problemOfLast = $"it has more than {MaxBytes} bytes";
        return _problemOfLast is null ? DocumentReader.Read(bytes, out _problemOfLast) : null;
    }

    /// <summary>Tells what has changed since the last look.</summary>
    void Note(string path, string? problem, bool isTaken)
    {
        var before = store.FileProblem;
        store.FileProblem = problem;
        if (problem is null && before is not null && !isTaken) Log.SettingsFileRead(logger, path);
        else if (problem is not null && problem != before) Log.SettingsFileBad(logger, path, problem);
    }

    /// <exception cref="TimeoutException">Reading goes on; the next call waits for its end.</exception>
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
                reading.SetResult(ReadBytes(path));
            }
            catch (Exception exception)
            {
                reading.SetException(exception);
            }
        }
    }

    /// <summary>No more than one byte above <see cref="MaxBytes"/>, whatever the file is.</summary>
    static byte[] ReadBytes(string path)
    {
        using var file = RegularFile.OpenRead(path);
        var bytes = new byte[Math.Clamp(file.Length, 0, MaxBytes) + 1];
        var length = file.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        return bytes[..length];
    }
}
