using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Reflection;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using MQTTnet;
using MQTTnet.Channel;
using MQTTnet.Formatter;
using MQTTnet.Protocol;
using SensorForwarder.Net;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Opens one MQTT 3.1.1 connection over TLS: token, roots, CONNECT, subscriptions, each with a time-out of its own.
/// Says in plain words why it can't. Not thread-safe: used by the connection's loop alone.
/// </summary>
internal sealed class HubDialer(
    EdgeIdentity identity, HubOptions options, TimeProvider timeProvider, Random random, Dialer? dialer = null)
    : IDisposable
{
    const int MqttPort = 8883;
    const int WebSocketPort = 443;

    // edgeHub can be silent for long before it answers a CONNECT, and can lose one altogether (iotedge #7539).
    static readonly TimeSpan ConnackTimeout = TimeSpan.FromSeconds(60);
    static readonly TimeSpan SubackTimeout = TimeSpan.FromSeconds(60);
    static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(60);

    // MQTTnet's own: all that is left to it here is closing a connection.
    static readonly TimeSpan CloseTimeout = TimeSpan.FromSeconds(5);

    static readonly string ProductInfo =
        $"SensorForwarder/{Assembly.GetExecutingAssembly().GetName().Version?.ToString(3)}";

    readonly Dialer _dialer = dialer ?? new(timeProvider);
    readonly CredentialSource _credentials = new(identity, options.TokenLife, timeProvider, random);
    readonly TransportChoice _transports = new(options.Transport);

    /// <summary>How long TCP, and then TLS, may take in the next attempt.</summary>
    public TimeSpan OpenTimeout { get; set; } = ReconnectPolicy.OpenTimeoutMax;

    /// <summary>A connection that is up and subscribed, and how long its credentials are good.</summary>
    /// <param name="prepare">Attaches to the client before it connects.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <exception cref="DialException">It could not be opened.</exception>
    public async Task<(Session Session, TimeSpan RenewIn)> DialAsync(
        Action<Session> prepare, CancellationToken cancellationToken)
    {
        var credentials = await _credentials.GetAsync(cancellationToken);
        DialException? unreachable = null;
        foreach (var transport in _transports.Candidates())
        {
            try
            {
                var session = await DialAsync(transport, credentials, prepare, cancellationToken);
                _transports.Answered(transport);
                return (session, _credentials.RenewIn(credentials));
            }
            catch (DialException exception) when (exception.Failure == DialFailure.Unreachable)
            {
                unreachable = unreachable is null
                    ? exception
                    : new(DialFailure.Unreachable, $"{unreachable.Message}; {exception.Message}", exception);
            }
            catch (DialException exception)
            {
                _transports.Answered(transport);

                // Another key, another bundle, another time: what is held may be what was wrong.
                if (exception.Failure != DialFailure.NotReady) _credentials.Forget();
                throw;
            }
        }

        _transports.NobodyThere();
        throw unreachable!;
    }

    /// <summary>The clock has stepped: the token at hand was made at a time that never was.</summary>
    public void ForgetCredentials() => _credentials.Forget();

    /// <summary>The proxy that a transport is used through, for a log line; empty without one.</summary>
    public string Through(HubTransport transport) =>
        transport == HubTransport.MqttWs ? EnvironmentProxy.Current.Through(WebSocketUrl) : "";

    public void Dispose() => _credentials.Dispose();

    Uri WebSocketUrl => new($"wss://{identity.DialledHostName}:{WebSocketPort}/$iothub/websocket");

    async Task<Session> DialAsync(
        HubTransport transport, HubCredentials credentials, Action<Session> prepare,
        CancellationToken cancellationToken)
    {
        // The TCP connection has timeouts of its own.
        var step = "to be connected to";
        using var timeout = new CancellationTokenSource(Timeout.InfiniteTimeSpan, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        void Await(string what, TimeSpan time)
        {
            step = what;
            timeout.CancelAfter(time);
        }

        var trust = new ServerTrust(identity.DialledHostName, credentials.Roots, timeProvider)
        {
            Accepted = () => Await("to answer the CONNECT", ConnackTimeout),
        };
        var session = new Session(new MqttClientFactory().CreateMqttClient(), transport, timeProvider);
        Stream? stream = null;
        try
        {
            prepare(session);
            void BeginTls() => Await("to answer in TLS", OpenTimeout);
            stream = await OpenAsync(transport, Tls(credentials, trust), BeginTls, deadline.Token);
            var answer = await session.Client.ConnectAsync(Options(credentials, stream), deadline.Token);
            if (answer.ResultCode != MqttClientConnectResultCode.Success) throw Refused(answer.ResultCode);
            Await("to confirm the subscriptions", SubackTimeout);
            await SubscribeAsync(session, deadline.Token);
            return session;
        }
        catch (Exception exception)
        {
            session.Finish(new("not opened"));
            session.Dispose();
            if (stream is not null) await stream.DisposeAsync();
            cancellationToken.ThrowIfCancellationRequested();
            if (exception is DialException) throw;
            if (trust.Objection is { } objection) throw objection;
            throw new DialException(
                DialFailure.Unreachable,
                timeout.IsCancellationRequested
                    ? $"{Where(transport)}: waited in vain for it {step}"
                    : $"{Where(transport)}: {NetworkText.Describe(exception)}",
                exception);
        }
    }

    async Task SubscribeAsync(Session session, CancellationToken cancellationToken)
    {
        var result = await session.Client.SubscribeAsync(
            new MqttClientSubscribeOptionsBuilder()
                .WithTopicFilter(HubTopics.TwinAnswers, MqttQualityOfServiceLevel.AtLeastOnce)
                .WithTopicFilter(HubTopics.DesiredPatches, MqttQualityOfServiceLevel.AtLeastOnce)
                .WithTopicFilter(HubTopics.MethodCalls, MqttQualityOfServiceLevel.AtLeastOnce)
                .Build(),
            cancellationToken);
        if (result.Items.FirstOrDefault(
            item => item.ResultCode > MqttClientSubscribeResultCode.GrantedQoS2) is { } refused)
        {
            throw new DialException(DialFailure.Unsupported,
                $"{identity.DialledHostName} refuses the subscription to {refused.TopicFilter.Topic}: is it a hub?");
        }
    }

    DialException Refused(MqttClientConnectResultCode code) => code switch
    {
        MqttClientConnectResultCode.ServerUnavailable => new(DialFailure.NotReady,
            $"{identity.DialledHostName} is there, but not ready (CONNACK 3)"),
        MqttClientConnectResultCode.BadUserNameOrPassword => NotTaken(4),
        MqttClientConnectResultCode.NotAuthorized => NotTaken(5),
        _ => new(DialFailure.Unsupported, $"{identity.DialledHostName} does not take the connection ({code}): is it a "
            + "hub?"),
    };

    DialException NotTaken(int code) => new(DialFailure.Refused,
        $"{identity.DialledHostName} refuses the identity {identity.ClientId} from {identity.Source} (CONNACK {code}). "
        + "Is it "
        + "registered and enabled, and its key the right one? This machine's clock says "
        + $"{timeProvider.GetUtcNow():u}: is that right?");

    SslClientAuthenticationOptions Tls(HubCredentials credentials, ServerTrust trust)
    {
        var tls = new SslClientAuthenticationOptions
        {
            TargetHost = identity.DialledHostName,
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            RemoteCertificateValidationCallback = trust.Validate,
        };
        if (credentials.ClientCertificate is { } certificate)
        {
            tls.ClientCertificateContext =
                SslStreamCertificateContext.Create(certificate, credentials.Chain, offline: true);
        }

        return tls;
    }

    /// <summary>A connection for MQTT, with TLS.</summary>
    async Task<Stream> OpenAsync(
        HubTransport transport,
        SslClientAuthenticationOptions tls,
        Action connected,
        CancellationToken cancellationToken)
    {
        if (transport == HubTransport.MqttWs)
        {
            // Disposing the handler leaves the open WebSocket alone.
            using var handler = _dialer.NewHandler(OpenTimeout, connected);
            using var http = new HttpMessageInvoker(handler);
            handler.SslOptions = tls;
            var webSocket = new ClientWebSocket();
            webSocket.Options.AddSubProtocol("mqtt");
            try
            {
                await webSocket.ConnectAsync(WebSocketUrl, http, cancellationToken);
                return WebSocketStream.Create(webSocket, WebSocketMessageType.Binary, closeTimeout: TimeSpan.Zero);
            }
            catch
            {
                webSocket.Dispose();
                throw;
            }
        }

        var socket = await _dialer.ConnectAsync(identity.DialledHostName, MqttPort, OpenTimeout, cancellationToken);
        connected();

        // What a lost connection has not sent yet must not arrive after all.
        socket.LingerState = new(true, 0);
        socket.SendBufferSize = socket.ReceiveBufferSize = PacketSize.Max;
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true));
        try
        {
            await stream.AuthenticateAsClientAsync(tls, cancellationToken);
            return stream;
        }
        catch (IOException exception) when (exception.InnerException is null)
        {
            await stream.DisposeAsync();
            var reason = $"{Where(transport)}: {TlsText.Describe(exception)}";
            throw new DialException(DialFailure.Unreachable, reason, exception);
        }
        catch
        {
            await stream.DisposeAsync();
            throw;
        }
    }

    MqttClientOptions Options(HubCredentials credentials, Stream stream)
    {
        var builder = new MqttClientOptionsBuilder();

        // Clean session off, as every client of Microsoft's has it: the hub then keeps the subscriptions.
        builder.WithTcpServer(identity.DialledHostName, MqttPort)
            .WithStreamProvider(new OpenStream(stream))
            .WithProtocolVersion(MqttProtocolVersion.V311)
            .WithClientId(identity.ClientId)
            .WithCleanSession(false)
            .WithKeepAlivePeriod(KeepAlive)
            .WithTimeout(CloseTimeout)
            .WithoutPacketFragmentation();
        if (credentials.Token is { } token) builder.WithCredentials(UserName(), token.Text);
        else builder.WithCredentials(UserName(), (byte[]?)null);
        return builder.Build();
    }

    string UserName()
    {
        var module = identity.ModuleId is null ? "" : $"/{identity.ModuleId}";
        var model = options.ModelId is null ? "" : $"&model-id={Uri.EscapeDataString(options.ModelId)}";
        return $"{identity.DialledHostName}/{identity.DeviceId}{module}/?api-version=2020-09-30"
            + $"&DeviceClientType={Uri.EscapeDataString(ProductInfo)}{model}";
    }

    string Where(HubTransport transport)
    {
        var port = transport == HubTransport.MqttWs ? WebSocketPort : MqttPort;
        return $"{identity.DialledHostName}:{port}{Through(transport)}";
    }

    /// <summary>The connection that MQTTnet speaks over: it opens none itself.</summary>
    sealed class OpenStream(Stream stream) : IMqttClientStreamProvider
    {
        public Task<Stream> ConnectAsync(EndPoint remoteEndPoint, CancellationToken cancellationToken) =>
            Task.FromResult(stream);
    }
}
