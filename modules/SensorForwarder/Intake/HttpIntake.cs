using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using SensorForwarder.Files;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.Intake;

/// <summary>
/// Listens for <see cref="HttpRequests"/> on a separate port or socket, because the port of the page is read-only.
/// While the address is in use, the module runs without the intake and retries. All resources of clients are bounded.
/// </summary>
internal sealed class HttpIntake(
    IntakeOptions options, HttpRequests requests, TimeProvider timeProvider, ILogger<HttpIntake> logger)
    : BackgroundService
{
    /// <summary>How long open requests may take when the module stops. After that they are not acknowledged.</summary>
    public static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(0.5);

    static readonly TimeSpan RetryEvery = TimeSpan.FromSeconds(10);

    const int MaxConnections = 64;
    const int MaxConnectionsPerAddress = 32;
    const int MaxHeaderBytes = 8 << 10;
    const int MaxHeaders = 40;
    const int MaxRequestLineBytes = 4 << 10;
    const int MaxWaitingBytes = 64 << 10;

    // The part of a too large body that is read, so that the sender sees the answer.
    const int MaxReadBytes = 4 * IntakeLimits.MaxRequestBytes;

    static readonly TimeSpan HeaderTimeout = TimeSpan.FromSeconds(10);

    // Clients such as Telegraf send every ten seconds, over one connection.
    static readonly TimeSpan KeepAliveTimeout = TimeSpan.FromSeconds(60);

    // Slower clients are disconnected. Each request also has a deadline.
    static readonly MinDataRate Slowest = new(240, TimeSpan.FromSeconds(5));

    const UnixFileMode SocketMode =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var place = options.Http is IPEndPoint ? options.Http.ToString()! : $"unix:{options.Http}";
        requests.Stopping = stoppingToken;
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                using var server = Build();
                await server.StartAsync(requests, stoppingToken);
                IntakeLog.Listens(logger, place);
                await Task.Delay(Timeout.InfiniteTimeSpan, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                using var patience = new CancellationTokenSource(StopPatience, timeProvider);
                await server.StopAsync(patience.Token);
            }
            catch (Exception exception) when (!stoppingToken.IsCancellationRequested)
            {
                IntakeLog.PlaceTaken(logger, place, LogText.Clean(exception.Message), RetryEvery.TotalSeconds);
                await Task.Delay(RetryEvery, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    KestrelServer Build()
    {
        var kestrel = new KestrelServerOptions();
        var endpoint = PlainKestrel.Http1(MaxConnectionsPerAddress);
        if (options.Http is IPEndPoint address) kestrel.Listen(address, endpoint);
        else kestrel.ListenUnixSocket(options.Http!.ToString()!, endpoint);
        var limits = kestrel.Limits;
        limits.MaxConcurrentConnections = MaxConnections;
        limits.MaxRequestBodySize = MaxReadBytes;
        limits.MinRequestBodyDataRate = Slowest;
        limits.MinResponseDataRate = Slowest;
        limits.MaxRequestHeadersTotalSize = MaxHeaderBytes;
        limits.MaxRequestHeaderCount = MaxHeaders;
        limits.MaxRequestLineSize = MaxRequestLineBytes;
        limits.MaxRequestBufferSize = MaxWaitingBytes;
        limits.MaxResponseBufferSize = MaxWaitingBytes;
        limits.RequestHeadersTimeout = HeaderTimeout;
        limits.KeepAliveTimeout = KeepAliveTimeout;
        return PlainKestrel.Build(kestrel, Bind);
    }

    static Socket Bind(EndPoint endPoint)
    {
        if (endPoint is not UnixDomainSocketEndPoint)
            return SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);
        var path = endPoint.ToString()!;

        // A killed process may have left the socket. Any other file at this path is not deleted.
        if (FileStatus.Of(path) is { IsSocket: true }) File.Delete(path);
        var socket = SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);
        if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(path, SocketMode);
        return socket;
    }
}
