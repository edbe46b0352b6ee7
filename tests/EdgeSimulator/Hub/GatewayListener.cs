using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
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

/// <summary>Accepts connections for the MQTT server and applies the faults of TCP and TLS. Serves MQTT on port 8883,
/// and MQTT over WebSocket on port 443 if the process may open it. Closes connections to port 5671 at once: AMQP, the
/// default of Microsoft's device SDK, is not served, and the SDK would otherwise retry for minutes.</summary>
internal sealed class GatewayListener : IMqttServerAdapter
{
    static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(30);

    readonly ServerCertificates _certificates;
    readonly FaultSwitches _faults;
    readonly TimeProvider _time;
    readonly RunLog _log;
    readonly CuttableListener _mqtt;
    readonly CuttableListener _webSocket;
    readonly CuttableListener _amqp;
    bool _webSocketIsServed = true;
    bool _amqpIsAnswered = true;
    int _amqpClients;
    MqttServerOptions? _options;
    IMqttNetLogger? _logger;

    public GatewayListener(
        IPAddress address, ServerCertificates certificates, FaultSwitches faults, TimeProvider time, RunLog log)
    {
        _certificates = certificates;
        _faults = faults;
        _time = time;
        _log = log;
        _mqtt = new CuttableListener(new IPEndPoint(address, GatewayAddress.Port), socket => _ = ServeAsync(socket, _mqtt!));
        _webSocket = new CuttableListener(
            new IPEndPoint(address, GatewayAddress.WebSocketPort), socket => _ = ServeAsync(socket, _webSocket!));
        _amqp = new CuttableListener(new IPEndPoint(address, GatewayAddress.AmqpPort), RefuseAmqp);
    }

    public Func<IMqttChannelAdapter, Task>? ClientHandler { get; set; }

    public Task StartAsync(MqttServerOptions options, IMqttNetLogger logger)
    {
        _options = options;
        _logger = logger;
        Apply(_faults.Current);
        return Task.CompletedTask;
    }

    /// <summary>Opens and closes the ports according to the faults.</summary>
    public void Apply(FaultSettings faults)
    {
        if (faults.Blackout || faults.HubStopped || faults.MqttPortBlocked)
        {
            _mqtt.Close();
        }
        else
        {
            _mqtt.Open();
        }

        if (faults.Blackout || faults.HubStopped)
        {
            _webSocket.Close();
            _amqp.Close();
            return;
        }

        // Most modules use neither port, so the run continues without.
        _webSocketIsServed = _webSocketIsServed && TryOpen(_webSocket, "no MQTT over WebSocket");
        _amqpIsAnswered = _amqpIsAnswered && TryOpen(_amqp, "clients that use AMQP are not told to use MQTT");
    }

    public void CutAll()
    {
        _mqtt.CutAll();
        _webSocket.CutAll();
    }

    /// <summary>Resets one connection. Like edgeHub, it never sends a DISCONNECT.</summary>
    public void Cut(EndPoint remote)
    {
        _mqtt.Cut(remote);
        _webSocket.Cut(remote);
    }

    public bool IsOpen(EndPoint remote) => _mqtt.IsOpen(remote) || _webSocket.IsOpen(remote);

    public void Close()
    {
        _mqtt.Close();
        _webSocket.Close();
        _amqp.Close();
    }

    public Task StopAsync()
    {
        Close();
        return Task.CompletedTask;
    }

    public void Dispose()
    {
        _mqtt.Dispose();
        _webSocket.Dispose();
        _amqp.Dispose();
    }

    bool TryOpen(CuttableListener listener, string otherwise)
    {
        try
        {
            listener.Open();
            return true;
        }
        catch (SocketException exception)
        {
            _log.Write($"{otherwise}: port {listener.EndPoint.Port}: {exception.Message}");
            return false;
        }
    }

    /// <summary>Closes the connection at once: a client retries, but need not wait.</summary>
    void RefuseAmqp(Socket socket)
    {
        if (Interlocked.Increment(ref _amqpClients) == 1)
        {
            _log.Write($"a client connects to port {GatewayAddress.AmqpPort} for AMQP, which this simulator does not speak: use MQTT "
                + "(in Microsoft's device SDK: new MqttTransportSettings(TransportType.Mqtt_Tcp_Only))");
        }

        _amqp.Cut(socket.RemoteEndPoint!);
    }

    async Task ServeAsync(Socket socket, CuttableListener listener)
    {
        EndPoint? remote = null;
        try
        {
            remote = socket.RemoteEndPoint!;
            using var tls = new SslStream(new FaultStream(new NetworkStream(socket, ownsSocket: true), _faults, _time));
            using var handshake = new CancellationTokenSource(HandshakeTimeout, _time);
            await tls.AuthenticateAsServerAsync(TlsOptions(), handshake.Token).ConfigureAwait(false);
            var (content, refusal) = listener == _webSocket
                ? await WebSocketHandshake.OpenAsync(tls, handshake.Token).ConfigureAwait(false)
                : (tls, "");
            if (content is null)
            {
                _log.Write($"WebSocket refused: {refusal}");
                return;
            }

            using var channel = new MqttTcpChannel(content, socket.LocalEndPoint, remote, null);
            var formatter = new MqttPacketFormatterAdapter(new MqttBufferWriter(_options!.WriterBufferSize, _options.WriterBufferSizeMax));
            using var adapter = new MqttChannelAdapter(channel, formatter, _logger) { AllowPacketFragmentation = false };
            await ClientHandler!(adapter).ConfigureAwait(false);
        }
        catch (AuthenticationException exception)
        {
            _log.Write($"TLS handshake failed: {exception.Message}");
        }
        catch (Exception exception) when (exception is IOException or SocketException or ObjectDisposedException or OperationCanceledException
            or WebSocketException)
        {
            // The connection has ended; the code that closed it has logged the reason.
        }
        finally
        {
            if (remote is not null)
            {
                listener.Forget(remote, socket);
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

    X509Certificate2 Certificate() => _faults.Current.Certificate switch
    {
        CertificateFault.None => _certificates.Valid,
        CertificateFault.Expired => _certificates.Expired,
        CertificateFault.OtherHost => _certificates.OtherHost,
        CertificateFault.Untrusted => _certificates.Untrusted,
        var other => throw new System.Diagnostics.UnreachableException($"certificate fault {other}"),
    };
}
