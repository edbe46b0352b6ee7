using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Configuration;

/// <summary>
/// Watches the settings file by reading it twice a second: that sees a rewrite, an atomic replace, and the symbolic
/// links that Kubernetes swaps, on every file system, and costs nothing while it is in the page cache. A file that is
/// missing or no JSON changes nothing; at the start the last good one stands in for it.
/// </summary>
internal sealed class SettingsFile(
    BootOptions boot, SettingsStore store, TimeProvider timeProvider, ILogger<SettingsFile> logger) : BackgroundService
{
    public const int MaxBytes = 1 << 20;
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(500);

    byte[]? _last;

    /// <summary>What was accepted last time comes into force before anything is read.</summary>
    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        var document = boot.SettingsFile is { } path ? await ReadAsync(path, cancellationToken) : new JsonObject();
        await store.StartAsync(document, cancellationToken);
        await base.StartAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (boot.SettingsFile is not { } path) return;
        using var timer = new PeriodicTimer(LookEvery, timeProvider);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                if (await ReadAsync(path, stoppingToken) is { } document) await store.OfferFileAsync(document, stoppingToken);
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                Log.SettingsFileBad(logger, path, LogText.Clean(exception.Message));
                _last = null; // so that it is taken at the next look
            }
        }
    }

    /// <summary>The document, if the file holds another one than at the last look; null when there is nothing new, or
    /// nothing that could be taken.</summary>
    async Task<JsonObject?> ReadAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            var bytes = await ReadBytesAsync(path, cancellationToken);
            if (_last is not null && bytes.AsSpan().SequenceEqual(_last)) return null;
            _last = bytes;
            string? problem = null;
            if (bytes.Length > MaxBytes || DocumentReader.Read(bytes, out problem) is not { } document)
            {
                Log.SettingsFileBad(logger, path, problem ?? $"it has more than {MaxBytes} bytes");
                return null;
            }

            Log.SettingsFileRead(logger, path);
            return document;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Log.SettingsFileBad(logger, path, LogText.Clean(exception.Message));
            return null;
        }
    }

    /// <summary>No more than one byte above <see cref="MaxBytes"/>, whatever the file is.</summary>
    static async Task<byte[]> ReadBytesAsync(string path, CancellationToken cancellationToken)
    {
        await using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 1);
        var bytes = new byte[Math.Clamp(file.Length, 0, MaxBytes) + 1];
        var length = await file.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, cancellationToken);
        return bytes[..length];
    }
}
