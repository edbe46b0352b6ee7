using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace SensorForwarder.Tests.Intake;

/// <summary>A broker that sends the bytes of a test to one connection at a time. Supports just enough of MQTT 5 for a connection.</summary>
internal sealed class RawBroker : IAsyncDisposable
{
    readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    readonly CancellationTokenSource _stop = new();
    readonly Func<RawConnection, Task> _converse;
    readonly Task _accepting;
    int _connections;

    /// <param name="converse">Called for each connection, which is closed when it returns.</param>
    public RawBroker(Func<RawConnection, Task> converse)
    {
        _converse = converse;
        _listener.Start();
        _accepting = AcceptAsync();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    async Task AcceptAsync()
    {
        try
        {
            while (true) await ConverseAsync(await _listener.AcceptTcpClientAsync(_stop.Token));
        }
        catch (OperationCanceledException)
        {
            // The test has ended.
        }
    }

    async Task ConverseAsync(TcpClient client)
    {
        using var own = client;
        try
        {
            await _converse(new(client.GetStream(), ++_connections, _stop.Token));
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException)
        {
            // The module has closed the connection, or the test has ended.
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _accepting;
        _listener.Dispose();
        _stop.Dispose();
    }
}

/// <param name="Number">Counted from 1.</param>
/// <param name="Stop">Cancelled when the test has ended.</param>
internal sealed record RawConnection(NetworkStream Stream, int Number, CancellationToken Stop)
{
    static readonly byte[] Connected = [0x20, 3, 0, 0, 0];

    public async Task SendAsync(params byte[] bytes) => await Stream.WriteAsync(bytes, Stop);

    /// <summary>A message with QoS 1.</summary>
    public static byte[] Publish(ushort id, string topic, byte[] payload, bool isRetained = false)
    {
        var name = Encoding.UTF8.GetBytes(topic);
        var length = 2 + name.Length + 2 + 1 + payload.Length;
        return
        [
            (byte)(isRetained ? 0x33 : 0x32), (byte)(0x80 | (length & 0x7F)), (byte)(0x80 | ((length >> 7) & 0x7F)), (byte)(0x80 | ((length >> 14) & 0x7F)), (byte)(length >> 21),
            (byte)(name.Length >> 8), (byte)name.Length, .. name, (byte)(id >> 8), (byte)id, 0, .. payload,
        ];
    }

    /// <summary>Waits for CONNECT and answers it.</summary>
    public async Task ConnectAsync()
    {
        await ReadAsync(0x10);
        await SendAsync(Connected);
    }

    /// <summary>Waits for SUBSCRIBE, and grants one topic.</summary>
    public async Task SubscribeAsync()
    {
        var body = await ReadAsync(0x80);
        await SendAsync(0x90, 4, body[0], body[1], 0, 1);
    }

    /// <summary>Waits for a PUBACK.</summary>
    /// <returns>The packet id of the message.</returns>
    public async Task<ushort> AcknowledgedAsync() => BinaryPrimitives.ReadUInt16BigEndian(await ReadAsync(0x40));

    /// <summary>Waits for a packet of a type, without its fixed header.</summary>
    public async Task<byte[]> ReadAsync(byte type)
    {
        while (true)
        {
            var first = (await ReadBytesAsync(1))[0];
            var (length, shift) = (0, 0);
            byte digit;
            do
            {
                digit = (await ReadBytesAsync(1))[0];
                length |= (digit & 0x7F) << shift;
                shift += 7;
            }
            while ((digit & 0x80) != 0);
            var body = await ReadBytesAsync(length);
            if ((first & 0xF0) == type) return body;
        }
    }

    /// <summary>Waits until the module closes the connection.</summary>
    public async Task ClosedAsync()
    {
        while (await Stream.ReadAsync(new byte[1_000], Stop) > 0)
        {
            // Discards what the module still sends.
        }
    }

    async Task<byte[]> ReadBytesAsync(int count)
    {
        var bytes = new byte[count];
        await Stream.ReadExactlyAsync(bytes, Stop);
        return bytes;
    }
}
