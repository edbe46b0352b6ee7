using System.Net;
using System.Net.Sockets;

namespace EdgeSimulator.Hub;

/// <summary>
/// Reserves an address whose port 8883 belongs to this simulator. A module cannot be configured with another port, so
/// simulators that run in parallel need different addresses. A bound socket name keeps the reservation while a blackout
/// closes the listener.
/// </summary>
internal sealed class GatewayAddress : IDisposable
{
    public const int Port = 8883;

    /// <summary>MQTT over WebSocket. Opening this port usually requires root.</summary>
    public const int WebSocketPort = 443;

    /// <summary>AMQP over TLS, which the simulator only refuses.</summary>
    public const int AmqpPort = 5671;

    readonly Socket _lock;

    GatewayAddress(IPAddress address, Socket held)
    {
        Address = address;
        _lock = held;
    }

    public IPAddress Address { get; }

    /// <summary>The host name that the module connects to: <c>localhost</c> or the address.</summary>
    public string HostName => Address.Equals(IPAddress.Loopback) ? "localhost" : Address.ToString();

    /// <summary>Reserves the given address, or the first free one of 127.0.0.1 to 127.0.0.254.</summary>
    /// <exception cref="InvalidOperationException">No address is free; the message says what to do.</exception>
    public static GatewayAddress Reserve(IPAddress? wanted)
    {
        if (wanted is not null)
        {
            return TryReserve(wanted) ?? throw new InvalidOperationException(
                $"--address {wanted}: port {Port} is in use; omit the option to use a free loopback address");
        }

        for (var last = 1; last <= 254; last++)
        {
            if (TryReserve(new IPAddress([127, 0, 0, (byte)last])) is { } reserved)
            {
                return reserved;
            }
        }

        throw new InvalidOperationException(
            $"port {Port} is in use on all addresses from 127.0.0.1 to 127.0.0.254; stop a process that listens on it");
    }

    public void Dispose() => _lock.Dispose();

    static GatewayAddress? TryReserve(IPAddress address)
    {
        // An abstract socket name can be bound only once, and is released whenever the process ends.
        var held = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            held.Bind(new UnixDomainSocketEndPoint($"\0edge-simulator-{address}"));
            using var probe = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            probe.Bind(new IPEndPoint(address, Port));
            probe.Listen(1);
            return new GatewayAddress(address, held);
        }
        catch (Exception exception) when (exception is IOException or SocketException or UnauthorizedAccessException)
        {
            held.Dispose();
            return null;
        }
    }
}
