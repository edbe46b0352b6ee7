using System.Net;
using System.Net.Sockets;

namespace EdgeSimulator.Faults;

/// <summary>
/// A TCP listener that can stop and start listening on its end point, and cut what it accepted with a reset. Thread-safe.
/// Neither MQTTnet's nor Kestrel's own listener can do that while the server runs.
/// </summary>
internal sealed class CuttableListener(IPEndPoint endPoint, Action<Socket> accepted) : IDisposable
{
    readonly Lock _lock = new();
    readonly Dictionary<EndPoint, Socket> _connections = [];
    Socket? _listener;

    /// <summary>Where it listens; a port of 0 becomes the one that was free when it opened first.</summary>
    public IPEndPoint EndPoint { get; private set; } = endPoint;

    /// <summary>Accepts connections (again).</summary>
    public void Open()
    {
        lock (_lock)
        {
            if (_listener is null)
            {
                _listener = new Socket(EndPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                _listener.Bind(EndPoint);
                _listener.Listen(64);
                EndPoint = (IPEndPoint)_listener.LocalEndPoint!;
                _ = AcceptAsync(_listener);
            }
        }
    }

    /// <summary>Refuses connections and cuts the open ones.</summary>
    public void Close()
    {
        lock (_lock)
        {
            _listener?.Dispose();
            _listener = null;
        }

        CutAll();
    }

    /// <summary>Ends every connection with a reset: no farewell of MQTT, HTTP or TLS.</summary>
    public void CutAll()
    {
        lock (_lock)
        {
            foreach (var socket in _connections.Values)
            {
                Reset(socket);
            }

            _connections.Clear();
        }
    }

    /// <summary>Ends one connection with a reset.</summary>
    public void Cut(EndPoint remote)
    {
        lock (_lock)
        {
            if (_connections.Remove(remote, out var socket))
            {
                Reset(socket);
            }
        }
    }

    /// <summary>Whether the connection from there is open, as far as this side knows.</summary>
    public bool IsOpen(EndPoint remote)
    {
        lock (_lock)
        {
            return _connections.ContainsKey(remote);
        }
    }

    /// <summary>The connection has ended by itself.</summary>
    public void Forget(EndPoint remote, Socket socket)
    {
        lock (_lock)
        {
            if (_connections.TryGetValue(remote, out var current) && current == socket)
            {
                _connections.Remove(remote);
            }
        }
    }

    public void Dispose() => Close();

    async Task AcceptAsync(Socket listener)
    {
        while (true)
        {
            Socket socket;
            try
            {
                socket = await listener.AcceptAsync().ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                lock (_lock)
                {
                    if (listener != _listener)
                    {
                        return;
                    }
                }

                continue;
            }

            if (Admit(listener, socket))
            {
                accepted(socket);
            }
        }
    }

    bool Admit(Socket listener, Socket socket)
    {
        lock (_lock)
        {
            try
            {
                // Accepted while a blackout began: it counts as cut.
                if (listener == _listener)
                {
                    socket.NoDelay = true;
                    _connections[socket.RemoteEndPoint!] = socket;
                    return true;
                }
            }
            catch (SocketException)
            {
                // It ended before it was looked at.
            }

            Reset(socket);
            return false;
        }
    }

    static void Reset(Socket socket)
    {
        try
        {
            socket.LingerState = new LingerOption(true, 0);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The other side was quicker.
        }

        socket.Dispose();
    }
}
