using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace SensorForwarder.Tests.Sensors;

/// <summary>A Modbus server over TCP whose answers come from a function; null: no answer.</summary>
internal sealed class TcpDevice : IDisposable
{
    const int HeaderLength = 7, RequestLength = 12;

    readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    readonly Func<byte, byte[], byte[]?> _answer;
    readonly ConcurrentBag<Socket> _sockets = [];
    int _connections;

    public TcpDevice(Func<byte, byte[], byte[]?> answer)
    {
        _answer = answer;
        _listener.Start();
        Connection = $"tcp://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";
        _ = AcceptAsync();
    }

    public string Connection { get; }

    public ConcurrentQueue<string> Requests { get; } = [];

    public int Connections => _connections;

    /// <summary>Bytes to send before the answer, derived from it.</summary>
    public Func<byte[], byte[]> Before { get; init; } = _ => [];

    public void CloseConnections()
    {
        while (_sockets.TryTake(out var socket)) socket.Dispose();
    }

    public void Dispose()
    {
        _listener.Dispose();
        CloseConnections();
    }

    async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var socket = await _listener.AcceptSocketAsync();
                Interlocked.Increment(ref _connections);
                _sockets.Add(socket);
                _ = ServeAsync(socket);
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The test is over.
        }
    }

    async Task ServeAsync(Socket socket)
    {
        try
        {
            await using var stream = new NetworkStream(socket);
            var request = new byte[RequestLength];
            while (true)
            {
                await stream.ReadExactlyAsync(request);
                var pdu = request[HeaderLength..];
                Requests.Enqueue($"unit {request[6]}: {Convert.ToHexString(pdu)}");
                if (_answer(request[6], pdu) is not { } answer) continue;
                byte[] frame = [request[0], request[1], 0, 0, 0, (byte)(answer.Length + 1), request[6], .. answer];
                await stream.WriteAsync((byte[])[.. Before(frame), .. frame]);
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException or SocketException)
        {
            // One side closed the connection.
        }
    }
}
