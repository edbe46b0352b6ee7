using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using SensorForwarder.Configuration;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Operations.Web;

/// <summary>
/// Serves <see cref="Endpoints"/>. While its port is taken, the module works without it, and it is retried. The limits
/// of connections, sizes and times are set here.
/// </summary>
internal sealed class WebServer(
    BootOptions boot, Endpoints endpoints, TimeProvider timeProvider, ILogger<WebServer> logger) : BackgroundService
{
    /// <summary>How long open requests may take when the server stops.</summary>
    public static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(1);

    static readonly TimeSpan RetryEvery = TimeSpan.FromSeconds(10);

    // Each connection takes some ten kilobytes, even if it is idle.
    const int MaxConnections = 64;

    // A page uses two or three. This is enough for all pages and the scraper behind one proxy.
    const int MaxConnectionsPerAddress = 24;
    const int MaxHeaderBytes = 16 << 10;
    const int MaxHeaders = 50;
    const int MaxRequestLineBytes = 4 << 10;
    const int MaxWaitingResponseBytes = 64 << 10;

    static readonly TimeSpan HeaderTimeout = TimeSpan.FromSeconds(5);
    static readonly TimeSpan KeepAliveTimeout = TimeSpan.FromSeconds(30);

    // A connection ends when its client has not acknowledged data, or had no room for it, for this long. TCP alone
    // needs a quarter of an hour to detect that a phone left the network, and never ends the connection of a client
    // that acknowledges without reading.
    static readonly TimeSpan ArrivalTimeout = TimeSpan.FromSeconds(20);

    /// <summary>A server with these limits.</summary>
    public static KestrelServer Build(int port)
    {
        var options = new KestrelServerOptions();

        // In a container the network is Docker's; elsewhere only this machine needs access.
        var inContainer = Environment.GetEnvironmentVariable("DOTNET_RUNNING_IN_CONTAINER") == "true";
        options.Listen(
            inContainer ? IPAddress.Any : IPAddress.Loopback, port, PlainKestrel.Http1(MaxConnectionsPerAddress));
        var limits = options.Limits;
        limits.MaxConcurrentConnections = MaxConnections;
        limits.MaxRequestBodySize = 0;
        limits.MaxRequestHeadersTotalSize = MaxHeaderBytes;
        limits.MaxRequestHeaderCount = MaxHeaders;
        limits.MaxRequestLineSize = MaxRequestLineBytes;
        limits.MaxRequestBufferSize = MaxHeaderBytes + MaxRequestLineBytes;
        limits.MaxResponseBufferSize = MaxWaitingResponseBytes;
        limits.RequestHeadersTimeout = HeaderTimeout;
        limits.KeepAliveTimeout = KeepAliveTimeout;
        return PlainKestrel.Build(options, Bind);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (boot.WebPort == 0) return;
        endpoints.Stopping = stoppingToken;
        while (!stoppingToken.IsCancellationRequested)
        {
            using var server = Build(boot.WebPort);
            try
            {
                await server.StartAsync(endpoints, stoppingToken);
                OperationsLog.WebListens(logger, boot.WebPort);
                await Task.Delay(Timeout.InfiniteTimeSpan, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                using var patience = new CancellationTokenSource(StopPatience, timeProvider);
                await server.StopAsync(patience.Token);
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                OperationsLog.WebPortTaken(
                    logger, boot.WebPort, LogText.Clean(exception.Message), RetryEvery.TotalSeconds);
                await Task.Delay(RetryEvery, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    static Socket Bind(EndPoint endPoint)
    {
        const int TcpUserTimeout = 18;

        var socket = SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);

        // Accepted sockets inherit the option.
        if (OperatingSystem.IsLinux()) socket.SetRawSocketOption(
            (int)SocketOptionLevel.Tcp, TcpUserTimeout, BitConverter.GetBytes((int)ArrivalTimeout.TotalMilliseconds));
        return socket;
    }
}
