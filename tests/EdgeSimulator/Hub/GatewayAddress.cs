using System.Net;
using System.Net.Sockets;

namespace EdgeSimulator.Hub;

/// <summary>
/// A loopback address whose port 8883 is this simulator's. edgeHub's port cannot be told to a module, so simulators that run side
/// by side differ by address. A socket name holds the address also while a blackout has closed the listener.
/// </summary>
internal sealed class GatewayAddress : IDisposable
{
    public const int Port = 8883;

    /// <summary>MQTT over a WebSocket; a port that as a rule only root may open.</summary>
    public const int WebSocketPort = 443;

    readonly Socket _lock;

    GatewayAddress(IPAddress address, Socket held)
    {
        Address = address;
        _lock = held;
    }

    public IPAddress Address { get; }

    /// <summary>What the module dials: <c>localhost</c>, or the address.</summary>
    public string HostName => Address.Equals(IPAddress.Loopback) ? "localhost" : Address.ToString();

    /// <summary>Takes the wanted address, or the first free one of 127.0.0.1 to 127.0.0.254.</summary>
    /// <exception cref="InvalidOperationException">None is free; the message says what to do.</exception>
    public static GatewayAddress Reserve(IPAddress? wanted)
    {
        if (wanted is not null)
        {
            return TryReserve(wanted) ?? throw new InvalidOperationException(
                $"--address {wanted}: port {Port} is taken there; leave the option out and a free loopback address is chosen");
        }

        for (var last = 1; last <= 254; last++)
        {
            if (TryReserve(new IPAddress([127, 0, 0, (byte)last])) is { } reserved)
            {
                return reserved;
            }
        }

        throw new InvalidOperationException($"port {Port} is taken on all of 127.0.0.1 to 127.0.0.254; end some of what listens there");
    }

    public void Dispose() => _lock.Dispose();

    static GatewayAddress? TryReserve(IPAddress address)
    {
        // An abstract socket name can be bound once, and is free again when the process ends, however it does.
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
