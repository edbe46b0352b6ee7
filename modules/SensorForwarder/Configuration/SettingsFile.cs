using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Configuration;

/// <summary>
/// Watches the settings file by reading it once a second: that sees a rewrite, an atomic replace, and the symbolic
/// links that Kubernetes swaps, on every file system, and costs nothing while it is in the page cache. A file that is
/// missing or no JSON changes nothing; at the start the last good one stands in for it.
/// </summary>
internal sealed class SettingsFile(
    BootOptions boot, SettingsStore store, TimeProvider timeProvider, ILogger<SettingsFile> logger) : BackgroundService
{
    public const int MaxBytes = 1 << 20;
    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    readonly LogThrottle _throttle = new(timeProvider);
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
                Complain(path, LogText.Clean(exception.Message));
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
            if (new FileInfo(path) is { Exists: true, Length: > MaxBytes })
            {
                Complain(path, $"it has more than {MaxBytes} bytes");
                return null;
            }

            var bytes = await File.ReadAllBytesAsync(path, cancellationToken);
            if (_last is not null && bytes.AsSpan().SequenceEqual(_last)) return null;
            _last = bytes;
            if (Parse(bytes) is not { } document)
            {
                Complain(path, "it is not a JSON object");
                return null;
            }

            _throttle.Reset();
            Log.SettingsFileRead(logger, path);
            return document;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or JsonException)
        {
            Complain(path, LogText.Clean(exception.Message));
            return null;
        }
    }

    static JsonObject? Parse(byte[] bytes)
    {
        // Comments and trailing commas: people write this file. Two equal keys are a slip that nobody would notice.
        var options = new JsonDocumentOptions
        {
            CommentHandling = JsonCommentHandling.Skip,
            AllowTrailingCommas = true,
            AllowDuplicateProperties = false,
        };
        var start = bytes.AsSpan().StartsWith("\uFEFF"u8) ? 3 : 0;
        return JsonNode.Parse(bytes.AsSpan(start), documentOptions: options) as JsonObject;
    }

    void Complain(string path, string reason)
    {
        if (_throttle.ShouldLog(reason, out _)) Log.SettingsFileBad(logger, path, reason);
    }
}
