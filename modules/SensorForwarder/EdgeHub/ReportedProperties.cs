using System.Text;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Sends the reported properties of the twin. Waiting patches are merged; at most one is in flight, at most one is sent
/// every <see cref="Interval"/>, and none is above 32 KB. A patch that was throttled, failed or not answered is sent
/// again, merged with later patches, which take precedence. Nothing is kept across a restart: after each connection the
/// twin is compared with the settings. <see cref="Report"/> is thread-safe; one loop sends.
/// </summary>
internal sealed class ReportedProperties(
    IEdgeHubClient client, TimeProvider timeProvider, Random random,
    ILogger<ReportedProperties> logger) : BackgroundService
{
    /// <summary>The largest document that the hub accepts.</summary>
    public const int MaxBytes = 32 << 10;

    /// <summary>The shortest time between two patches: edgeHub collects patches for this long before it sends them to
    /// the cloud, and every patch costs one operation there.</summary>
    public static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    // The most waiting patches that can't be merged; beyond it the oldest is dropped.
    const int MaxPatches = 16;
    static readonly TimeSpan BackoffBase = TimeSpan.FromSeconds(2);
    static readonly TimeSpan BackoffMax = TimeSpan.FromSeconds(120);

    readonly Channel<bool> _wake =
        Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    readonly Lock _lock = new();

    // Guarded by _lock; in the order in which the patches apply.
    readonly LinkedList<JsonObject> _waiting = [];

    /// <summary>Queues a patch; returns at once. Any thread.</summary>
    public void Report(JsonObject patch)
    {
        lock (_lock)
        {
            if (_waiting.Last is not { } last || !MergePatch.TryCompose(last.Value, patch))
                _waiting.AddLast(patch.DeepClone().AsObject());
            if (_waiting.Count > MaxPatches) _waiting.RemoveFirst();
        }

        _wake.Writer.TryWrite(true);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (await _wake.Reader.WaitToReadAsync(stoppingToken))
        {
            _wake.Reader.TryRead(out _);
            var failures = 0;
            while (Take() is { } patch)
            {
                await client.WaitUntilConnectedAsync(stoppingToken);
                var status = await SendAsync(patch, stoppingToken);
                if (status is 0 or 429 or >= 500)
                {
                    PutBack(patch);
                    var delay = Backoff.Next(++failures, BackoffBase, BackoffMax, random.NextDouble());
                    EdgeHubLog.ReportDelayed(logger, status, delay.TotalSeconds);
                    await Task.Delay(delay, timeProvider, stoppingToken);
                    continue;
                }

                failures = 0;
                if (status is < 200 or >= 300)
                    EdgeHubLog.ReportRefused(
                        logger, LogText.Clean(string.Join(", ", patch.Select(pair => pair.Key))), status);
                await Task.Delay(Interval, timeProvider, stoppingToken);
            }
        }
    }

    async Task<int> SendAsync(JsonObject patch, CancellationToken cancellationToken)
    {
        try
        {
            return (await client.PatchReportedAsync(Encoding.UTF8.GetBytes(patch.ToJsonString()), cancellationToken))
                .Status;
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            EdgeHubLog.MessageFailed(logger, exception);
            return 0;
        }
    }

    /// <summary>Takes the next patch of at most <see cref="MaxBytes"/>; keys that do not fit stay queued.</summary>
    JsonObject? Take()
    {
        lock (_lock)
        {
            while (_waiting.First is { } first)
            {
                _waiting.RemoveFirst();
                var (fits, rest) = Split(first.Value);
                if (rest.Count > 0) _waiting.AddFirst(rest);
                if (fits.Count > 0) return fits;
            }

            return null;
        }
    }

    /// <summary>Queues a failed patch again; patches reported meanwhile take precedence.</summary>
    void PutBack(JsonObject patch)
    {
        lock (_lock)
        {
            if (_waiting.First is { } first && MergePatch.TryCompose(patch, first.Value)) _waiting.RemoveFirst();
            _waiting.AddFirst(patch);
        }
    }

    (JsonObject Fits, JsonObject Later) Split(JsonObject patch)
    {
        var (fits, rest) = (new JsonObject(), new JsonObject());
        var bytes = 2;
        foreach (var (key, value) in patch.ToList())
        {
            patch.Remove(key);
            var entry = new JsonObject { [key] = value };
            var size = Encoding.UTF8.GetByteCount(entry.ToJsonString());
            entry.Remove(key);
            if (size > MaxBytes)
            {
                EdgeHubLog.ReportTooLarge(logger, LogText.Clean(key), size, MaxBytes);
                continue;
            }

            var target = bytes + size <= MaxBytes ? fits : rest;
            target[key] = value;
            if (target == fits) bytes += size;
        }

        return (fits, rest);
    }
}
