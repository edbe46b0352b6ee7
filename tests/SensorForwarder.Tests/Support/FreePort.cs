using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace SensorForwarder.Tests.Support;

/// <summary>Finds unused ports. They are below the ephemeral range, so that the system does not assign them to another
/// socket before the test uses them.</summary>
internal static class FreePort
{
    const int Lowest = 10_000;

    const int Highest = 32_767; // Linux's ephemeral ports start at 32,768 by default

    static readonly Random Random = new();
    static readonly ConcurrentDictionary<int, bool> Given = [];

    public static int Find()
    {
        while (true)
        {
            int port;
            lock (Random) port = Random.Next(Lowest, Highest + 1);
            if (Given.TryAdd(port, true) && IsFree(port)) return port;
        }
    }

    static bool IsFree(int port)
    {
        try
        {
            using var listener = new TcpListener(IPAddress.Any, port);
            listener.Start();
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
