using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations.Web;

/// <summary>
/// Listens for <see cref="Endpoints"/>. It stands beside the work: while its port is taken, the module works without it
/// and tries again. Kestrel is used without the rest of ASP.NET Core, which would cost megabytes; everything that a
/// client can take is bounded here.
/// </summary>
internal sealed class WebServer(
    BootOptions boot, Endpoints endpoints, TimeProvider timeProvider, ILogger<WebServer> logger) : BackgroundService
{
    /// <summary>How long requests that are under way may take when the server stops.</summary>
    public static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(1);

    static readonly TimeSpan RetryEvery = TimeSpan.FromSeconds(10);

    // Each connection costs some ten kilobytes, idle ones too.
    const int MaxConnections = 64;

    // A page holds two or three; all pages behind one proxy, and the scraper, fit as well.
    const int MaxConnectionsPerAddress = 24;
    const int MaxHeaderBytes = 16 << 10;
    const int MaxHeaders = 50;
    const int MaxRequestLineBytes = 4 << 10;
    const int MaxWaitingResponseBytes = 64 << 10;

    static readonly TimeSpan HeaderTimeout = TimeSpan.FromSeconds(5);
    static readonly TimeSpan KeepAliveTimeout = TimeSpan.FromSeconds(30);

    // What a client does not acknowledge, or has no room for, for so long ends its connection. TCP itself takes a
    // quarter of an hour for a phone that has left the network, and never ends one that acknowledges without reading.
    static readonly TimeSpan ArrivalTimeout = TimeSpan.FromSeconds(20);

    /// <summary>A server with the bounds that all have.</summary>
    public static KestrelServer Build(int port)
    {
        var options = new KestrelServerOptions { AddServerHeader = false };

        // In a container the network is Docker's; elsewhere nobody else has any business here.
        var inContainer = Environment.GetEnvironmentVariable("DOTNET_RUNNING_IN_CONTAINER") == "true";
        options.Listen(inContainer ? IPAddress.Any : IPAddress.Loopback, port, listen =>
        {
            listen.Protocols = HttpProtocols.Http1;
            listen.Use(new AddressLimit(MaxConnectionsPerAddress).Wrap);
        });
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

        // What a client sends wrong is its own affair, and nothing for our log.
        var silence = NullLoggerFactory.Instance;
        var transport = new SocketTransportOptions { CreateBoundListenSocket = Bind };
        return new(Options.Create(options), new SocketTransportFactory(Options.Create(transport), silence), silence);
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
                Log.WebListens(logger, boot.WebPort);
                await Task.Delay(Timeout.InfiniteTimeSpan, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                using var patience = new CancellationTokenSource(StopPatience, timeProvider);
                await server.StopAsync(patience.Token);
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                Log.WebPortTaken(logger, boot.WebPort, LogText.Clean(exception.Message), RetryEvery.TotalSeconds);
                await Task.Delay(RetryEvery, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    static Socket Bind(EndPoint endPoint)
    {
        const int TcpUserTimeout = 18;

        var socket = SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);

        // Those that are accepted inherit it.
        if (OperatingSystem.IsLinux()) socket.SetRawSocketOption(
            (int)SocketOptionLevel.Tcp, TcpUserTimeout, BitConverter.GetBytes((int)ArrivalTimeout.TotalMilliseconds));
        return socket;
    }
}
