using System.Net;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;
using SensorForwarder.Operations.Status;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Web;

/// <summary>Answers on the web port while the module waits for its volume, with the reason. Disposing it frees the port
/// for <see cref="WebServer"/>.</summary>
internal sealed class WaitingPage(BootOptions boot, RequestGuard guard, TimeProvider timeProvider, ILogger logger)
    : GuardedRequests(guard, logger), IAsyncDisposable
{
    readonly ILogger _logger = logger;
    KestrelServer? _server;
    volatile string _reason = "";

    /// <summary>Answers with this reason from now on. Called after each failed attempt to open the volume.</summary>
    /// <param name="reason">Why the module waits.</param>
    /// <param name="tryAgain">Time until the next call, which retries a port that is taken.</param>
    public async Task ShowAsync(string reason, TimeSpan tryAgain, CancellationToken cancellationToken)
    {
        _reason = reason;
        if (boot.WebPort == 0 || _server is not null) return;
        var server = WebServer.Build(boot.WebPort);
        try
        {
            await server.StartAsync(this, cancellationToken);
            _server = server;
        }
        catch (Exception exception)
        {
            server.Dispose();
            if (!cancellationToken.IsCancellationRequested) OperationsLog.WebPortTaken(
                _logger, boot.WebPort, LogText.Clean(exception.Message), tryAgain.TotalSeconds);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is null) return;
        using var patience = new CancellationTokenSource(WebServer.StopPatience, timeProvider);
        await _server.StopAsync(patience.Token);
        _server.Dispose();
    }

    protected override Task AnswerAsync(HttpContext context) => context.Request.Path.Value switch
    {
        "/healthz" => AnswerAsync(context, Report("live", "notLive")),
        "/readyz" or "/status" => AnswerAsync(context, Report("ready", "notReady")),
        "/" when boot.WebDashboard =>
            AnswerAsync(context, "text/html; charset=utf-8", Page(), StatusCodes.Status503ServiceUnavailable),
        "/metrics" => AnswerAsync(context, "text/plain; charset=utf-8", Encoding.UTF8.GetBytes(
            $"Waiting for the volume: {_reason}\n"), StatusCodes.Status503ServiceUnavailable),
        _ => NotFoundAsync(context, boot.WebDashboard),
    };

    HealthReport Report(string good, string bad) => new(good, bad, [new("storage", _reason)]);

    // The page reloads itself until the module's page replaces it.
    byte[] Page() => Encoding.UTF8.GetBytes($"""
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
        <meta http-equiv="refresh" content="5">
        <title>SensorForwarder waits for its volume</title></head>
        <body>
        <h1>SensorForwarder waits for its volume</h1>
        <p>{WebUtility.HtmlEncode(_reason)}</p>
        <p>Until the volume is available, no sensor is read and nothing is sent. The module retries every few seconds.
        Device {WebUtility.HtmlEncode(boot.DeviceId)}, module {WebUtility.HtmlEncode(boot.ModuleId)}.</p>
        </body>
        </html>

        """);
}
