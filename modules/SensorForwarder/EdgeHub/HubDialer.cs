using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Reflection;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using MQTTnet;
using MQTTnet.Formatter;
using MQTTnet.Protocol;
using SensorForwarder.Net;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Opens one MQTT 3.1.1 connection over TLS: token, roots, TCP, TLS, CONNECT, subscriptions, each step with its own
/// timeout. Explains failures in words. Not thread-safe: used by the connection's loop only.
/// </summary>
internal sealed class HubDialer(
    EdgeIdentity identity, HubOptions options, TimeProvider timeProvider, Random random, Dialer? dialer = null)
    : IDisposable
{
    const int MqttPort = 8883;
    const int WebSocketPort = 443;

    // edgeHub may answer a CONNECT late, or never (iotedge #7539).
    static readonly TimeSpan ConnackTimeout = TimeSpan.FromSeconds(60);
    static readonly TimeSpan SubackTimeout = TimeSpan.FromSeconds(60);
    static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(60);

    // MQTTnet's timeout. Applies only to closing a connection: all other operations have a token.
    static readonly TimeSpan CloseTimeout = TimeSpan.FromSeconds(5);

    static readonly string ProductInfo =
        $"SensorForwarder/{Assembly.GetExecutingAssembly().GetName().Version?.ToString(3)}";

    readonly Dialer _dialer = dialer ?? new(timeProvider);
    readonly CredentialSource _credentials = new(identity, options.TokenLife, timeProvider, random);
    readonly TransportChoice _transports = new(options.Transport);

    /// <summary>The timeout of TCP, and again of TLS, in the next attempt.</summary>
    public TimeSpan OpenTimeout { get; set; } = ReconnectPolicy.OpenTimeoutMax;

    /// <summary>Opens a connection and subscribes.</summary>
    /// <param name="prepare">Attaches handlers to the client before it connects.</param>
    /// <param name="cancellationToken">Cancels the attempt.</param>
    /// <returns>The connection, and the time until its token must be renewed.</returns>
    /// <exception cref="DialException">No transport could open a connection.</exception>
    public async Task<(MqttSession Session, TimeSpan RenewIn)> DialAsync(
        Action<MqttSession> prepare, CancellationToken cancellationToken)
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

                // The key, the trust bundle or the time may have changed: the cached credentials may be the cause.
                if (exception.Failure != DialFailure.NotReady) _credentials.Forget();
                throw;
            }
        }

        _transports.NoneReached();
        throw unreachable!;
    }

    /// <summary>Discards the token after the clock has stepped: its expiry was computed from a wrong time.</summary>
    public void ForgetCredentials() => _credentials.Forget();

    /// <summary>The proxy that a transport uses, for a log line; empty: none.</summary>
    public string Through(HubTransport transport) =>
        transport == HubTransport.MqttWs ? EnvironmentProxy.Current.Through(WebSocketUrl) : "";

    public void Dispose() => _credentials.Dispose();

    Uri WebSocketUrl => new($"wss://{identity.DialledHostName}:{WebSocketPort}/$iothub/websocket");

    async Task<MqttSession> DialAsync(
        HubTransport transport, HubCredentials credentials, Action<MqttSession> prepare,
        CancellationToken cancellationToken)
    {
        // _dialer limits the time of the TCP connection.
        var step = "the connection";
        using var timeout = new CancellationTokenSource(Timeout.InfiniteTimeSpan, timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        void Await(string what, TimeSpan time)
        {
            step = what;
            timeout.CancelAfter(time);
        }

        var trust = new ServerTrust(identity.DialledHostName, credentials.Roots, timeProvider)
        {
            Accepted = () => Await("the CONNACK", ConnackTimeout),
        };
        var session = new MqttSession(new MqttClientFactory().CreateMqttClient(), transport, timeProvider);
        Stream? stream = null;
        try
        {
            prepare(session);
            void BeginTls() => Await("the TLS handshake", OpenTimeout);
            stream = await OpenAsync(transport, Tls(credentials, trust), BeginTls, deadline.Token);
            var answer = await session.Client.ConnectAsync(Options(credentials, stream), deadline.Token);
            if (answer.ResultCode != MqttClientConnectResultCode.Success) throw Refused(answer.ResultCode);
            Await("the SUBACK", SubackTimeout);
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
                    ? $"{Where(transport)}: timed out waiting for {step}"
                    : $"{Where(transport)}: {NetworkText.Describe(exception)}",
                exception);
        }
    }

    async Task SubscribeAsync(MqttSession session, CancellationToken cancellationToken)
    {
        var filters = new MqttClientSubscribeOptionsBuilder()
            .WithTopicFilter(HubTopics.TwinAnswers, MqttQualityOfServiceLevel.AtLeastOnce)
            .WithTopicFilter(HubTopics.DesiredPatches, MqttQualityOfServiceLevel.AtLeastOnce)
            .WithTopicFilter(HubTopics.MethodCalls, MqttQualityOfServiceLevel.AtLeastOnce);
        if (HubTopics.Inputs(identity) is { } inputs)
            filters.WithTopicFilter(inputs, MqttQualityOfServiceLevel.AtLeastOnce);
        var result = await session.Client.SubscribeAsync(filters.Build(), cancellationToken);
        if (result.Items.FirstOrDefault(
            item => item.ResultCode > MqttClientSubscribeResultCode.GrantedQoS2) is { } refused)
        {
            throw new DialException(DialFailure.Unsupported,
                $"{identity.DialledHostName} refuses the subscription to {refused.TopicFilter.Topic}: is it IoT Hub or "
                    + "edgeHub?");
        }
    }

    DialException Refused(MqttClientConnectResultCode code) => code switch
    {
        MqttClientConnectResultCode.ServerUnavailable => new(DialFailure.NotReady,
            $"{identity.DialledHostName} is reachable but not ready (CONNACK 3)"),
        MqttClientConnectResultCode.BadUserNameOrPassword =>
            DialException.IdentityRefused(identity, " (CONNACK 4)", timeProvider),
        MqttClientConnectResultCode.NotAuthorized =>
            DialException.IdentityRefused(identity, " (CONNACK 5)", timeProvider),
        _ => new(DialFailure.Unsupported, $"{identity.DialledHostName} rejects the connection ({code}): is it IoT Hub "
            + "or edgeHub?"),
    };

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

    /// <summary>Opens the byte stream for MQTT: TLS over TCP, or a WebSocket.</summary>
    async Task<Stream> OpenAsync(
        HubTransport transport,
        SslClientAuthenticationOptions tls,
        Action connected,
        CancellationToken cancellationToken)
    {
        if (transport == HubTransport.MqttWs)
        {
            // Disposing the handler does not close the open WebSocket.
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

        // Closing resets the connection, so that unsent bytes of a lost connection do not arrive later.
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

        // Clean session off, as in all of Microsoft's clients: the hub then keeps the subscriptions.
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
}
