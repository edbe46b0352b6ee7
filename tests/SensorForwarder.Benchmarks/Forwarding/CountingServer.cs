using System.Net;
using System.Net.Sockets;
using System.Text;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>A minimal HTTP receiver that uses little CPU, so that benchmarks measure the module: reads each body
/// without parsing, and responds with 200.</summary>
internal sealed class CountingServer : IDisposable
{
    readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    long _readingsThrough;

    public CountingServer()
    {
        _listener.Start();
        _ = AcceptAsync();
    }

    public string Url => $"http://{_listener.LocalEndpoint}/";

    /// <summary>The id of the latest reading that has arrived, from the Idempotency-Key headers.</summary>
    public long ReadingsThrough => Volatile.Read(ref _readingsThrough);

    public void Dispose() => _listener.Dispose();

    async Task AcceptAsync()
    {
        try
        {
            while (true) _ = ServeAsync(await _listener.AcceptTcpClientAsync());
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Disposed.
        }
    }

    async Task ServeAsync(TcpClient client)
    {
        try
        {
            using var connection = client;
            client.NoDelay = true;
            var stream = client.GetStream();
            var input = new byte[1 << 18];
            var filled = 0;
            var answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"u8.ToArray();
            while (true)
            {
                int end;
                while ((end = input.AsSpan(0, filled).IndexOf("\r\n\r\n"u8)) < 0)
                {
                    if (await stream.ReadAsync(input.AsMemory(filled)) is not (> 0 and var read)) return;
                    filled += read;
                }

                // Part of the body may have been read with the head; the rest follows.
                var head = Encoding.ASCII.GetString(input.AsSpan(0, end));
                var left = long.Parse(HeaderOf(head, "Content-Length")) - (filled - end - 4);
                while (left > 0)
                {
                    if (await stream.ReadAsync(input.AsMemory(0, (int)Math.Min(left, input.Length))) is not (> 0 and var read)) return;
                    left -= read;
                }

                filled = 0;
                Volatile.Write(ref _readingsThrough, long.Parse(HeaderOf(head, "Idempotency-Key").Split('-')[^1]));
                await stream.WriteAsync(answer);
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // The client has closed the connection.
        }
    }

    static string HeaderOf(string head, string name) => head.Split("\r\n")
        .FirstOrDefault(line => line.StartsWith(name + ":", StringComparison.OrdinalIgnoreCase))?[(name.Length + 1)..].Trim()
        ?? throw new IOException($"a request without {name}");
}
