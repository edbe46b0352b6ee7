using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace SensorForwarder.Tests.Support;

/// <summary>A web server on a free loopback port that does with each request what the test says.</summary>
internal sealed class Receiver : IAsyncDisposable
{
    readonly WebApplication _app;

    Receiver(WebApplication app) => _app = app;

    public Uri Url => new($"{_app.Urls.First()}/telemetry");

    public static async Task<Receiver> StartAsync(RequestDelegate answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var app = builder.Build();
        app.Run(answer);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return new(app);
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
