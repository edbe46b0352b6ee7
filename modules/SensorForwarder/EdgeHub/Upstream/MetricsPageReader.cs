using System.Net;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub.Upstream;

/// <summary>Reads edgeHub's metrics page over HTTP, one read at a time.</summary>
/// <param name="url">The page; null: none is configured.</param>
/// <param name="client">Our module as the page names it: <c>DEVICE/MODULE</c>.</param>
internal sealed class MetricsPageReader(Uri? url, string client, TimeProvider timeProvider, Dialer? dialer = null)
    : IDisposable
{
    // A page of a device with many modules has a few hundred KB.
    const int MaxPageBytes = 4 << 20;

    static readonly TimeSpan PageTimeout = TimeSpan.FromSeconds(5);

    HttpClient? _http;
    volatile CancellationTokenSource? _late;

    /// <summary>The URL of the page without secrets, for log and status; null: none is configured.</summary>
    public string? Place => url is null ? null : UrlText.Place(url);

    /// <summary>Reads the page; null when it is not configured, absent, late, too long or not edgeHub's. Never throws.
    /// </summary>
    public async Task<MetricsPage?> ReadAsync(CancellationToken cancellationToken)
    {
        if (url is null) return null;

        // The timeout begins when the connection is open: resolving the name may take longer.
        using var late = _late = new(Timeout.InfiniteTimeSpan, timeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(late.Token, cancellationToken);
        try
        {
            _http ??= NewClient();
            using var response = await _http.GetAsync(url, either.Token);
            return response.StatusCode == HttpStatusCode.OK
                ? MetricsPage.TryParse(await response.Content.ReadAsStringAsync(either.Token), client)
                : null;
        }
        catch (Exception exception) when (
            exception is HttpRequestException or IOException or OperationCanceledException or InvalidOperationException)
        {
            return null; // an unknown charset throws InvalidOperationException
        }
    }

    public void Dispose() => _http?.Dispose();

    // PooledConnectionLifetime zero: each read opens a connection.
    HttpClient NewClient()
    {
        var handler = (dialer ?? new(timeProvider)).NewHandler(PageTimeout, () => _late?.CancelAfter(PageTimeout));
        (handler.UseProxy, handler.PooledConnectionLifetime) = (false, TimeSpan.Zero);
        return new(handler) { MaxResponseContentBufferSize = MaxPageBytes, Timeout = Timeout.InfiniteTimeSpan };
    }
}
