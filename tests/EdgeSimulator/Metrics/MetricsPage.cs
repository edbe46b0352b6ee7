using EdgeSimulator.Faults;
using EdgeSimulator.Http;
using EdgeSimulator.Hub;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace EdgeSimulator.Metrics;

/// <summary>Serves edgeHub's metrics page on a free loopback port (http://edgeHub:9600/metrics in a deployment). It is
/// reachable only while edgeHub runs.</summary>
internal sealed class MetricsPage : IAsyncDisposable
{
    readonly Upstream _upstream;
    readonly CuttableTransport _transport = new();
    readonly WebApplication _app;

    public MetricsPage(Upstream upstream, FaultSwitches faults)
    {
        _upstream = upstream;
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options => options.Listen(_transport.Listener.EndPoint));
        builder.Services.AddSingleton<IConnectionListenerFactory>(_transport);
        _app = builder.Build();
        _app.Run(AnswerAsync);
        faults.Changed += OnFaultsChanged;
    }

    /// <summary>The page's URL; valid after <see cref="StartAsync"/>.</summary>
    public string Url => $"http://{_transport.EndPoint}/metrics";

    public Task StartAsync(CancellationToken cancellationToken) => _app.StartAsync(cancellationToken);

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    void OnFaultsChanged(FaultSettings before, FaultSettings after)
    {
        if (after.HubStopped && !before.HubStopped)
        {
            _transport.Listener.Close();
        }
        else if (before.HubStopped && !after.HubStopped)
        {
            _transport.Listener.Open();
        }
    }

    async Task AnswerAsync(HttpContext context)
    {
        if (context.Request.Path != "/metrics")
        {
            context.Response.StatusCode = 404;
            return;
        }

        context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
        await context.Response.WriteAsync(_upstream.Page(), context.RequestAborted).ConfigureAwait(false);
    }
}
