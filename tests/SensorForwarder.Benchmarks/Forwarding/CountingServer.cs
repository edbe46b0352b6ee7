using System.Net;
using System.Net.Sockets;
using System.Text;

namespace SensorForwarder.Benchmarks.Forwarding;

/// <summary>The cheapest HTTP receiver that there can be, in a process of its own: it reads as many bytes as the head of each
/// request announces, looks at none of them, and answers 200. It takes the receiver out of the numbers.</summary>
internal static class CountingServer
{
    /// <summary>Serves until the process is killed.</summary>
    public static async Task<int> RunAsync()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        Console.WriteLine(((IPEndPoint)listener.LocalEndpoint).Port);
        while (true) _ = ServeAsync(await listener.AcceptTcpClientAsync());
    }

    static async Task ServeAsync(TcpClient client)
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

                // What of the body came with the head, and the rest of it.
                var left = LengthOf(input.AsSpan(0, end)) - (filled - end - 4);
                while (left > 0)
                {
                    if (await stream.ReadAsync(input.AsMemory(0, (int)Math.Min(left, input.Length))) is not (> 0 and var read)) return;
                    left -= read;
                }

                filled = 0;
                await stream.WriteAsync(answer);
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // The client has gone.
        }
    }

    static long LengthOf(ReadOnlySpan<byte> head)
    {
        foreach (var line in Encoding.ASCII.GetString(head).Split("\r\n"))
        {
            if (line.StartsWith("Content-Length:", StringComparison.OrdinalIgnoreCase)) return long.Parse(line[15..]);
        }

        throw new IOException("a request without Content-Length");
    }
}
