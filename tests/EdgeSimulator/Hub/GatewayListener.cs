using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Workload;
using MQTTnet.Adapter;
using MQTTnet.Diagnostics.Logger;
using MQTTnet.Formatter;
using MQTTnet.Implementations;
using MQTTnet.Server;

namespace EdgeSimulator.Hub;

/// <summary>
/// Accepts TCP and TLS for the MQTT server. In place of MQTTnet's own listener, which can neither stop listening while the server
/// runs nor cut a connection abruptly.
/// </summary>
internal sealed class GatewayListener(
    IPEndPoint endPoint, ServerCertificates certificates, FaultSwitches faults, TimeProvider time, RunLog log) : IMqttServerAdapter
{
    static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(30);

    readonly Lock _lock = new();
    readonly Dictionary<EndPoint, Socket> _connections = [];
    MqttServerOptions? _options;
    IMqttNetLogger? _logger;
    Socket? _listener;

    public Func<IMqttChannelAdapter, Task>? ClientHandler { get; set; }

    public Task StartAsync(MqttServerOptions options, IMqttNetLogger logger)
    {
        _options = options;
        _logger = logger;
        Open();
        return Task.CompletedTask;
    }

    /// <summary>Accepts connections (again).</summary>
    public void Open()
    {
        lock (_lock)
        {
            if (_listener is null)
            {
                _listener = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                _listener.Bind(endPoint);
                _listener.Listen(64);
                _ = AcceptAsync(_listener);
            }
        }
    }

    /// <summary>Refuses connections and cuts the open ones. Returns how many were cut.</summary>
    public int Close()
    {
        lock (_lock)
        {
            _listener?.Dispose();
            _listener = null;
        }

        return CutAll();
    }

    /// <summary>Ends every connection with a reset, without a farewell of MQTT or TLS. Returns how many there were.</summary>
    public int CutAll()
    {
        lock (_lock)
        {
            foreach (var socket in _connections.Values)
            {
                Reset(socket);
            }

            var count = _connections.Count;
            _connections.Clear();
            return count;
        }
    }

    /// <summary>Ends one connection, as edgeHub does: it never sends a DISCONNECT.</summary>
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

    public bool IsOpen(EndPoint remote)
    {
        lock (_lock)
        {
            return _connections.ContainsKey(remote);
        }
    }

    public Task StopAsync()
    {
        Close();
        return Task.CompletedTask;
    }

    public void Dispose() => Close();

    static void Reset(Socket socket)
    {
        try
        {
            socket.LingerState = new LingerOption(true, 0);
            socket.Dispose();
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The other side was quicker.
        }
    }

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
                if (listener != _listener)
                {
                    return;
                }

                continue;
            }

            _ = ServeAsync(listener, socket);
        }
    }

    async Task ServeAsync(Socket listener, Socket socket)
    {
        EndPoint? remote = null;
        try
        {
            socket.NoDelay = true;
            remote = socket.RemoteEndPoint!;
            lock (_lock)
            {
                // Accepted while a blackout began: it counts as cut.
                if (listener != _listener)
                {
                    Reset(socket);
                    return;
                }

                _connections[remote] = socket;
            }

            // NetworkStream, FaultStream and SslStream end with each other; the socket itself ends in the finally block.
            using var tls = new SslStream(new FaultStream(new NetworkStream(socket, ownsSocket: true), faults, time));
            using var handshake = new CancellationTokenSource(HandshakeTimeout, time);
            await tls.AuthenticateAsServerAsync(TlsOptions(), handshake.Token).ConfigureAwait(false);

            using var channel = new MqttTcpChannel(tls, socket.LocalEndPoint, remote, null);
            var formatter = new MqttPacketFormatterAdapter(new MqttBufferWriter(_options!.WriterBufferSize, _options.WriterBufferSizeMax));
            using var adapter = new MqttChannelAdapter(channel, formatter, _logger) { AllowPacketFragmentation = false };
            await ClientHandler!(adapter).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is AuthenticationException)
        {
            log.Write($"a connection ended in the TLS handshake: {exception.Message}");
        }
        catch (Exception exception) when (exception is IOException or SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // The connection is gone, by us or by the module; whoever cut it says so.
        }
        finally
        {
            lock (_lock)
            {
                if (remote is not null && _connections.TryGetValue(remote, out var current) && current == socket)
                {
                    _connections.Remove(remote);
                }
            }

            socket.Dispose();
        }
    }

    SslServerAuthenticationOptions TlsOptions() => new()
    {
        EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
        ServerCertificateContext = SslStreamCertificateContext.Create(Certificate(), null, offline: true),
        ClientCertificateRequired = false,
    };

    X509Certificate2 Certificate() => faults.Current.Certificate switch
    {
        CertificateFault.None => certificates.Valid,
        CertificateFault.Expired => certificates.Expired,
        CertificateFault.OtherHost => certificates.OtherHost,
        CertificateFault.Untrusted => certificates.Untrusted,
        var other => throw new System.Diagnostics.UnreachableException($"certificate fault {other}"),
    };
}
