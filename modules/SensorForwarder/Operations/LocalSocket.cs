using System.Buffers;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using SensorForwarder.Text;

namespace SensorForwarder.Operations;

/// <summary>A Unix socket in the buffer's directory that only its owner can connect to, with the command line on the
/// other side. If it can't be created (a file system without sockets, a path that is too long), it is retried.
/// </summary>
internal sealed class LocalSocket(string path, TimeProvider timeProvider, ILogger logger)
{
    const int Backlog = 8;
    const int ReadBytes = 4_096;
    static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(10);
    static readonly TimeSpan RetryEvery = TimeSpan.FromSeconds(10);

    /// <summary>The largest request; 0: clients are answered without a request.</summary>
    public required int MaxRequestBytes { get; init; }

    /// <summary>Further clients wait.</summary>
    public int ClientsAtOnce { get; init; } = 1;

    /// <summary>Sends a request to the running module.</summary>
    /// <returns>The answer; empty: none in time; null: no module listens on the socket.</returns>
    public static async Task<byte[]?> AskAsync(
        string path, ReadOnlyMemory<byte> request, TimeSpan patience, TimeProvider timeProvider,
        CancellationToken cancellationToken)
    {
        using var timeout = new CancellationTokenSource(patience, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        using var socket = NewSocket();
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), deadline.Token);
        }
        catch (Exception exception) when (IsNoSocket(exception))
        {
            return null;
        }

        using var answer = new MemoryStream();
        try
        {
            await using var stream = new NetworkStream(socket);
            if (!request.IsEmpty)
            {
                await stream.WriteAsync(request, deadline.Token);
                socket.Shutdown(SocketShutdown.Send); // the end of the request
            }

            await stream.CopyToAsync(answer, deadline.Token);
        }
        catch (Exception exception) when (exception is IOException
            || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            return [];
        }

        return answer.ToArray();
    }

    /// <summary>Answers clients until the module stops. A request ends when the client shuts down its side of the
    /// connection. A client whose request is too large, or not complete within 10 s, is disconnected.</summary>
    /// <param name="answer">Answers a request; null: the client is disconnected without an answer.</param>
    /// <param name="stoppingToken">Ends this, and the requests in progress.</param>
    public async Task ServeAsync(
        Func<ReadOnlyMemory<byte>, CancellationToken, Task<byte[]?>> answer, CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await ListenAsync(client => AnswerAsync(client, answer, stoppingToken), stoppingToken);
            }
            catch (Exception exception) when (IsNoSocket(exception))
            {
                OperationsLog.SocketFailed(logger, path, LogText.Clean(exception.Message), RetryEvery.TotalSeconds);
                await Task.Delay(RetryEvery, timeProvider, stoppingToken)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    async Task ListenAsync(Func<Socket, Task> answer, CancellationToken stoppingToken)
    {
        File.Delete(path); // left by a process that was killed
        using var listener = NewSocket();
        listener.Bind(new UnixDomainSocketEndPoint(path));
        try
        {
            if (!OperatingSystem.IsWindows()) File.SetUnixFileMode(
                path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            listener.Listen(Backlog);
            var answering = new List<Task>();
            while (true)
            {
                answering.Add(answer(await listener.AcceptAsync(stoppingToken)));
                if (answering.Count < ClientsAtOnce) continue;
                var done = await Task.WhenAny(answering);
                answering.Remove(done);
                await done;
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

    async Task AnswerAsync(
        Socket client, Func<ReadOnlyMemory<byte>, CancellationToken, Task<byte[]?>> answer,
        CancellationToken stoppingToken)
    {
        using (client)
        {
            try
            {
                if (await ReadAsync(client, stoppingToken) is { } request
                    && await answer(request, stoppingToken) is { } body)
                    await client.SendAsync(body, SocketFlags.None, stoppingToken);
            }
            catch (SocketException)
            {
                // The client disconnected.
            }
        }
    }

    /// <returns>The request; null: it is too large, or was not complete in time.</returns>
    async Task<ReadOnlyMemory<byte>?> ReadAsync(Socket client, CancellationToken stoppingToken)
    {
        if (MaxRequestBytes == 0) return ReadOnlyMemory<byte>.Empty;
        using var timeout = new CancellationTokenSource(RequestTimeout, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, stoppingToken);
        var request = new ArrayBufferWriter<byte>(ReadBytes);
        try
        {
            while (await client.ReceiveAsync(request.GetMemory(ReadBytes), SocketFlags.None, deadline.Token)
                is > 0 and var read)
            {
                request.Advance(read);
                if (request.WrittenCount > MaxRequestBytes) return null;
            }

            return request.WrittenMemory;
        }
        catch (OperationCanceledException) when (!stoppingToken.IsCancellationRequested)
        {
            return null;
        }
    }

    static Socket NewSocket() => new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    // A path of more than 107 bytes causes an ArgumentOutOfRangeException.
    static bool IsNoSocket(Exception exception) =>
        exception is SocketException or IOException or UnauthorizedAccessException or ArgumentException;
}
