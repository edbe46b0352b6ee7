using System.Net;
using System.Net.Sockets;

namespace EdgeSimulator.Faults;

/// <summary>
/// A TCP listener that can stop and resume listening on its endpoint and reset accepted connections, which the
/// listeners of MQTTnet and Kestrel cannot do while the server runs. Thread-safe.
/// </summary>
internal sealed class CuttableListener(IPEndPoint endPoint, Action<Socket> accepted) : IDisposable
{
    readonly Lock _lock = new();
    readonly Dictionary<EndPoint, Socket> _connections = [];
    Socket? _listener;

    /// <summary>The endpoint. Port 0 is replaced by the assigned port when the listener first opens.</summary>
    public IPEndPoint EndPoint { get; private set; } = endPoint;

    /// <summary>Starts to accept connections, if it does not already.</summary>
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

    /// <summary>Refuses connections and resets the open ones.</summary>
    public void Close()
    {
        lock (_lock)
        {
            _listener?.Dispose();
            _listener = null;
        }

        CutAll();
    }

    /// <summary>Resets all connections, without a closing message of MQTT, HTTP or TLS.</summary>
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

    /// <summary>Resets one connection.</summary>
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

    /// <summary>Whether the connection from this endpoint is open as far as the server knows.</summary>
    public bool IsOpen(EndPoint remote)
    {
        lock (_lock)
        {
            return _connections.ContainsKey(remote);
        }
    }

    /// <summary>Called when a connection has ended without being reset here.</summary>
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
                // A connection accepted while the listener was being closed is reset.
                if (listener == _listener)
                {
                    socket.NoDelay = true;
                    _connections[socket.RemoteEndPoint!] = socket;
                    return true;
                }
            }
            catch (SocketException)
            {
                // The connection has already ended.
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
            // The connection has already been closed by the peer or by its reader.
        }

        socket.Dispose();
    }
}
