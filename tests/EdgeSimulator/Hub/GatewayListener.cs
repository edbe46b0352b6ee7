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

/// <summary>Accepts TCP and TLS for the MQTT server, with the faults of both.</summary>
internal sealed class GatewayListener : IMqttServerAdapter
{
    static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(30);

    readonly ServerCertificates _certificates;
    readonly FaultSwitches _faults;
    readonly TimeProvider _time;
    readonly RunLog _log;
    readonly CuttableListener _listener;
    MqttServerOptions? _options;
    IMqttNetLogger? _logger;

    public GatewayListener(
        IPEndPoint endPoint, ServerCertificates certificates, FaultSwitches faults, TimeProvider time, RunLog log)
    {
        _certificates = certificates;
        _faults = faults;
        _time = time;
        _log = log;
        _listener = new CuttableListener(endPoint, socket => _ = ServeAsync(socket));
    }

    public Func<IMqttChannelAdapter, Task>? ClientHandler { get; set; }

    public Task StartAsync(MqttServerOptions options, IMqttNetLogger logger)
    {
        _options = options;
        _logger = logger;
        _listener.Open();
        return Task.CompletedTask;
    }

    public void Open() => _listener.Open();

    public void Close() => _listener.Close();

    public void CutAll() => _listener.CutAll();

    /// <summary>Ends one connection, as edgeHub does: it never sends a DISCONNECT.</summary>
    public void Cut(EndPoint remote) => _listener.Cut(remote);

    public bool IsOpen(EndPoint remote) => _listener.IsOpen(remote);

    public Task StopAsync()
    {
        _listener.Close();
        return Task.CompletedTask;
    }

    public void Dispose() => _listener.Dispose();

    async Task ServeAsync(Socket socket)
    {
        EndPoint? remote = null;
        try
        {
            remote = socket.RemoteEndPoint!;
            using var tls = new SslStream(new FaultStream(new NetworkStream(socket, ownsSocket: true), _faults, _time));
            using var handshake = new CancellationTokenSource(HandshakeTimeout, _time);
            await tls.AuthenticateAsServerAsync(TlsOptions(), handshake.Token).ConfigureAwait(false);

            using var channel = new MqttTcpChannel(tls, socket.LocalEndPoint, remote, null);
            var formatter = new MqttPacketFormatterAdapter(new MqttBufferWriter(_options!.WriterBufferSize, _options.WriterBufferSizeMax));
            using var adapter = new MqttChannelAdapter(channel, formatter, _logger) { AllowPacketFragmentation = false };
            await ClientHandler!(adapter).ConfigureAwait(false);
        }
        catch (AuthenticationException exception)
        {
            _log.Write($"a connection ended in the TLS handshake: {exception.Message}");
        }
        catch (Exception exception) when (exception is IOException or SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // The connection is gone, by us or by the module; whoever cut it says so.
        }
        finally
        {
            if (remote is not null)
            {
                _listener.Forget(remote, socket);
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
