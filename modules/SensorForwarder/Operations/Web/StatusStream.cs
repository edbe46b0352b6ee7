using Microsoft.AspNetCore.Http;

namespace SensorForwarder.Operations.Web;

/// <summary>Sends the data that change each second as server-sent events, to a bounded number of pages. A client that
/// stops reading is disconnected: each event must be sent within <see cref="Patience"/>, and sent data must be
/// acknowledged in time (see <see cref="WebServer"/>). Kestrel's minimum data rate does not ensure that, since each
/// write extends its deadline. Thread-safe.</summary>
internal sealed class StatusStream(Dashboard dashboard, TimeProvider timeProvider)
{
    public const int MaxStreams = 8;

    /// <summary>Timeout for sending one event. A page on a slow link may need seconds.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    static readonly TimeSpan Every = TimeSpan.FromSeconds(1);
    int _streams;

    /// <returns>False: there are too many streams, and nothing was answered.</returns>
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
