using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry.Metrics;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations;

/// <summary>
/// Serves <c>/metrics</c>, <c>/healthz</c> and <c>/status</c>. It stands beside the work: while its port is taken, the
/// module works without it and tries again.
/// </summary>
internal sealed class WebServer(
    BootOptions boot, StatusWriter status, ModuleMetrics metrics, TimeProvider timeProvider, ILogger<WebServer> logger)
    : BackgroundService
{
    static readonly TimeSpan RetryEvery = TimeSpan.FromSeconds(10);
    const int MaxConnections = 64;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (boot.WebPort == 0) return;
        GC.KeepAlive(metrics); // made by being asked for
        var throttle = new LogThrottle(timeProvider);
        while (!stoppingToken.IsCancellationRequested)
        {
            await using var app = Build();
            try
            {
                await app.StartAsync(stoppingToken);
                Log.WebListens(logger, boot.WebPort);
                await Task.Delay(Timeout.InfiniteTimeSpan, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(1), timeProvider);
                await app.StopAsync(patience.Token);
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                if (throttle.ShouldLog(exception.Message, out _))
                    Log.WebPortTaken(logger, boot.WebPort, LogText.Clean(exception.Message), RetryEvery.TotalSeconds);
                await Task.Delay(RetryEvery, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    WebApplication Build()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            // In a container the network is Docker's; elsewhere nobody else has any business here.
            var inContainer = Environment.GetEnvironmentVariable("DOTNET_RUNNING_IN_CONTAINER") == "true";
            kestrel.Listen(inContainer ? IPAddress.Any : IPAddress.Loopback, boot.WebPort);
            kestrel.Limits.MaxConcurrentConnections = MaxConnections;
            kestrel.Limits.MaxRequestBodySize = 0;
            kestrel.AddServerHeader = false;
        });
        builder.Services.AddOpenTelemetry().WithMetrics(meters => meters
            .AddMeter(ModuleMetrics.MeterName)
            .AddPrometheusExporter(options =>
            {
                // Each sample carries its labels itself, as IoT Edge's collector wants them.
                options.ScopeInfoEnabled = false;
                options.TargetInfoEnabled = false;
            }));

        var app = builder.Build();
        app.UseOpenTelemetryPrometheusScrapingEndpoint();
        app.MapGet("/healthz", () => TypedResults.Text("{\"status\":\"live\"}", "application/json"));
        app.MapGet("/status", () => TypedResults.Bytes(status.Write(), "application/json"));
        return app;
    }
}
