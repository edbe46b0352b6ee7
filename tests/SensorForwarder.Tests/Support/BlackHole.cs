using System.Net;
using System.Net.Sockets;

namespace SensorForwarder.Tests.Support;

/// <summary>A loopback endpoint where connection attempts get no answer, as behind a firewall that drops packets: a
/// listener whose queue is full, so that the kernel drops each SYN.</summary>
internal sealed class BlackHole : IDisposable
{
    readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    readonly Socket _inQueue = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);

    public BlackHole(int port)
    {
        for (byte last = 1; ; last++)
        {
            try
            {
                _listener.Bind(new IPEndPoint(new IPAddress([127, 9, 9, last]), port));
                break;
            }
            catch (SocketException) when (last < 100)
            {
                // Another test uses this address.
            }
        }

        // The kernel's queue holds one connection more than the backlog.
        _listener.Listen(0);
        _inQueue.Connect(_listener.LocalEndPoint!);
    }

    public IPAddress Address => ((IPEndPoint)_listener.LocalEndPoint!).Address;

    public int Port => ((IPEndPoint)_listener.LocalEndPoint!).Port;

    public void Dispose()
    {
        _inQueue.Dispose();
        _listener.Dispose();
    }
}
