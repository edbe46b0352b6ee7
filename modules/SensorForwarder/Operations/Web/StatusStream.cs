using Microsoft.AspNetCore.Http;

namespace SensorForwarder.Operations.Web;

/// <summary>Server-sent events: what changes, once a second, to a bounded number of open pages. A client that reads too
/// slowly is cut off by Kestrel's least data rate.</summary>
internal sealed class StatusStream(Dashboard dashboard, TimeProvider timeProvider)
{
    public const int MaxStreams = 8;

    static readonly TimeSpan Every = TimeSpan.FromSeconds(1);
    int _streams;

    /// <returns>False: there are too many already, and nothing was answered.</returns>
    public async Task<bool> TryServeAsync(HttpContext context, CancellationToken stopping)
    {
        try
        {
            if (Interlocked.Increment(ref _streams) > MaxStreams) return false;
            using var end = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, stopping);
            context.Response.ContentType = "text/event-stream";
            using var timer = new PeriodicTimer(Every, timeProvider);
            do
            {
                await context.Response.Body.WriteAsync("data: "u8.ToArray(), end.Token);
                await context.Response.Body.WriteAsync(dashboard.WriteNow(), end.Token);
                await context.Response.Body.WriteAsync("\n\n"u8.ToArray(), end.Token);
                await context.Response.Body.FlushAsync(end.Token);
            }
            while (await timer.WaitForNextTickAsync(end.Token));
            return true;
        }
        finally
        {
            Interlocked.Decrement(ref _streams);
        }
    }
}
