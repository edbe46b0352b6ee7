using System.Net.Sockets;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Configuration;

namespace SensorForwarder.Operations;

/// <summary>Tells the container's health check, over a Unix socket in the buffer's directory, what <c>/healthz</c>
/// says: whoever connects is sent the JSON and disconnected. Clients of the web port can't get in its way. Where the
/// socket can't be created (a file system without sockets, a path that is too long), the health
/// check asks the port.</summary>
internal sealed class HealthSocket(
    BootOptions boot, Health health, TimeProvider timeProvider, ILogger<HealthSocket> logger)
    : BackgroundService
{
    const int Backlog = 8;
    static readonly TimeSpan RetryEvery = TimeSpan.FromSeconds(10);
    static readonly TimeSpan AskTimeout = TimeSpan.FromSeconds(5);

    /// <summary>What the running module answers, empty when it does not within 5 s; null when no module listens on the
    /// socket.</summary>
    public static async Task<byte[]?> AskAsync(
        BootOptions boot, TimeProvider timeProvider, CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(AskTimeout, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        using var socket = NewSocket();
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(PathOf(boot)), deadline.Token);
        }
        catch (Exception exception) when (IsNoSocket(exception))
        {
            return null;
        }

        using var answer = new MemoryStream();
        try
        {
            await using var stream = new NetworkStream(socket);
            await stream.CopyToAsync(answer, deadline.Token);
        }
        catch (Exception exception) when (exception is IOException
            || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            return [];
        }

        return answer.ToArray();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var path = PathOf(boot);
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await ServeAsync(path, stoppingToken);
            }
            catch (Exception exception) when (IsNoSocket(exception))
            {
                Log.HealthSocketFailed(logger, path, LogText.Clean(exception.Message), RetryEvery.TotalSeconds);
                await Task.Delay(RetryEvery, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    async Task ServeAsync(string path, CancellationToken stoppingToken)
    {
        File.Delete(path); // a run that was killed left it
        using var listener = NewSocket();
        listener.Bind(new UnixDomainSocketEndPoint(path));
        try
        {
            if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(
                path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            listener.Listen(Backlog);
            while (true)
            {
                using var client = await listener.AcceptAsync(stoppingToken);
                await AnswerAsync(client, stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The module stops.
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>The report fits into the socket's buffer, so a client that does not read delays nobody.</summary>
    async Task AnswerAsync(Socket client, CancellationToken stoppingToken)
    {
        try
        {
            await client.SendAsync(health.Live().ToJson(), SocketFlags.None, stoppingToken);
        }
        catch (SocketException)
        {
            // The client went away.
        }
    }

    static string PathOf(BootOptions boot) => Path.Combine(boot.BufferDirectory, "health.sock");

    static Socket NewSocket() => new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    // A path of over 107 bytes is an ArgumentOutOfRangeException.
    static bool IsNoSocket(Exception exception) =>
        exception is SocketException or IOException or UnauthorizedAccessException or ArgumentException;
}
