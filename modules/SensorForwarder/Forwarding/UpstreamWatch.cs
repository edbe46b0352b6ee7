using System.Net;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Net;

namespace SensorForwarder.Forwarding;

/// <summary>Where edgeHub's metrics page is; null: nobody looks.</summary>
internal sealed record UpstreamWatchOptions(Uri? MetricsUrl);

/// <summary>Looks at edgeHub's metrics page every few seconds, so that readings wait in our buffer rather than in
/// edgeHub's store while that has no cloud. Whatever is wrong with the page, forwarding goes
/// on as without it.</summary>
internal sealed class UpstreamWatch(
    UpstreamWatchOptions options, TimeProvider timeProvider, ILogger<UpstreamWatch> logger, Dialer? dialer = null)
    : BackgroundService
{
    // A page of a device with many modules has a few hundred KB.
    const int MaxPageBytes = 4 << 20;

    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(10);
    static readonly TimeSpan LookAgainWithoutPage = TimeSpan.FromMinutes(1);
    static readonly TimeSpan PageTimeout = TimeSpan.FromSeconds(5);

    readonly UpstreamQueue _queue = new();
    bool? _isThere;
    volatile bool _isHolding;
    volatile CancellationTokenSource? _late;
    long _waiting = -1;

    /// <summary>edgeHub gets rid of nothing: what is not sent yet is better kept here. Any thread.</summary>
    public bool IsHolding => _isHolding;

    /// <summary>Messages that wait in edgeHub for the cloud, at the last look; null: its page does
    /// not say. Any thread.</summary>
    public long? Waiting => Volatile.Read(ref _waiting) is >= 0 and var waiting ? waiting : null;

    /// <summary>How long until the page is worth another look.</summary>
    internal TimeSpan UntilNextLook => _isThere == true || _isHolding ? LookEvery : LookAgainWithoutPage;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (options.MetricsUrl is not { } url) return;
        void BeginPage() => _late?.CancelAfter(PageTimeout);
        using var handler = (dialer ?? new(timeProvider)).NewHandler(PageTimeout, BeginPage);
        handler.UseProxy = false;

        // Each look opens a connection, and its time begins with that: a name may take longer to resolve.
        handler.PooledConnectionLifetime = TimeSpan.Zero;
        using var http = new HttpClient(handler)
        {
            MaxResponseContentBufferSize = MaxPageBytes,
            Timeout = Timeout.InfiniteTimeSpan,
        };
        while (!stoppingToken.IsCancellationRequested)
        {
            var page = await ReadAsync(http, url, stoppingToken);
            // the stop ended the request: that says nothing of the page
            if (stoppingToken.IsCancellationRequested) break;
            Look(page);
            await Task.Delay(UntilNextLook, timeProvider, stoppingToken)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Takes a look at the page into account; null when it is not there.</summary>
    internal void Look(string? page)
    {
        var length = page is null ? null : PrometheusPage.Sum(page, "edgehub_queue_length", "endpoint", "iothub");
        Volatile.Write(ref _waiting, length is { } messages ? (long)messages : -1);
        _queue.Look(length, page is null
            ? null
            : PrometheusPage.Sum(page, "edgehub_messages_sent_total", "to", "upstream"));
        if (_isThere != length is not null)
        {
            var place = options.MetricsUrl is { } url ? UrlText.Place(url) : "";
            Log.UpstreamPage(logger, place, length is null ? "not there" : "there");
        }

        _isThere = length is not null;
        if (_queue.IsHolding == _isHolding) return;
        _isHolding = _queue.IsHolding;
        if (_isHolding) Log.UpstreamHeld(logger, length ?? 0);
        else Log.UpstreamReleased(logger);
    }

    /// <summary>The page; null when there is none, or it is late, too long, or no text.</summary>
    async Task<string?> ReadAsync(HttpClient http, Uri url, CancellationToken stoppingToken)
    {
        using var late = _late = new(Timeout.InfiniteTimeSpan, timeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, stoppingToken);
        try
        {
            using var response = await http.GetAsync(url, either.Token);
            return response.StatusCode == HttpStatusCode.OK
                ? await response.Content.ReadAsStringAsync(either.Token)
                : null;
        }
        catch (Exception exception) when (
            exception is HttpRequestException or IOException or OperationCanceledException or InvalidOperationException)
        {
            return null; // a content type with an unknown encoding is an InvalidOperationException
        }
    }
}
