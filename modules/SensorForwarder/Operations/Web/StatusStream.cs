using Microsoft.AspNetCore.Http;

namespace SensorForwarder.Operations.Web;

/// <summary>Server-sent events: what changes, once a second, to a bounded number of open pages. A client that takes
/// nothing any more loses its place: each event has its time to get out, and what is out its time to arrive (see
/// <see cref="WebServer"/>). Kestrel's least data rate is no such bound: each write adds to the time
/// of those after it.</summary>
internal sealed class StatusStream(Dashboard dashboard, TimeProvider timeProvider)
{
    public const int MaxStreams = 8;

    /// <summary>For one event. A page on a slow link may need seconds for it.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

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
            do await WriteAsync(context, end.Token);
            while (await timer.WaitForNextTickAsync(end.Token));
            return true;
        }
        finally
        {
            Interlocked.Decrement(ref _streams);
        }
    }

    async Task WriteAsync(HttpContext context, CancellationToken cancellationToken)
    {
        using var late = new CancellationTokenSource(Patience, timeProvider);
        using var abort = late.Token.Register(context.Abort);
        var body = context.Response.Body;
        await body.WriteAsync("data: "u8.ToArray(), cancellationToken);
        await body.WriteAsync(dashboard.WriteNow(), cancellationToken);
        await body.WriteAsync("\n\n"u8.ToArray(), cancellationToken);
        await body.FlushAsync(cancellationToken);
    }
}
