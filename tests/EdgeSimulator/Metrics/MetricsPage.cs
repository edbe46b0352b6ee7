using System.Net;
using EdgeSimulator.Hub;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace EdgeSimulator.Metrics;

/// <summary>edgeHub's metrics page, which is http://edgeHub:9600/metrics in a deployment, on a free loopback port.</summary>
internal sealed class MetricsPage : IAsyncDisposable
{
    readonly HubMetrics _metrics;
    readonly Upstream _upstream;
    readonly WebApplication _app;

    public MetricsPage(HubMetrics metrics, Upstream upstream)
    {
        _metrics = metrics;
        _upstream = upstream;
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        _app = builder.Build();
        _app.Run(AnswerAsync);
    }

    /// <summary>Known once it has started.</summary>
    public string Url => $"{_app.Urls.First()}/metrics";

    public Task StartAsync(CancellationToken cancellationToken) => _app.StartAsync(cancellationToken);

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    async Task AnswerAsync(HttpContext context)
    {
        if (context.Request.Path != "/metrics")
        {
            context.Response.StatusCode = 404;
            return;
        }

        context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
        await context.Response.WriteAsync(_metrics.Render(_upstream.Lengths), context.RequestAborted).ConfigureAwait(false);
    }
}
