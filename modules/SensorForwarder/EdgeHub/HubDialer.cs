using System.Net.Sockets;
using System.Reflection;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using MQTTnet;
using MQTTnet.Exceptions;
using MQTTnet.Formatter;
using MQTTnet.Protocol;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// Opens one MQTT 3.1.1 connection over TLS: token, roots, CONNECT, subscriptions. Says in plain words why it can't.
/// </summary>
internal sealed class HubDialer(EdgeIdentity identity, TimeProvider timeProvider) : IDisposable
{
    private const int Port = 8883;

    // edgeHub can be silent for long before it answers a CONNECT, and can lose one altogether (iotedge #7539).
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(60);

    private static readonly string ProductInfo =
        $"SensorForwarder/{Assembly.GetExecutingAssembly().GetName().Version?.ToString(3)}";

    private readonly WorkloadApi? _workload = identity.Workload is { } endpoint ? new(endpoint) : null;

    /// <summary>How long a token is good; MQTT can't renew it inside a connection.</summary>
    public static TimeSpan TokenLife { get; } = TimeSpan.FromHours(1);

    /// <summary>A connection that is up and subscribed. Throws what <see cref="Describe"/> understands.</summary>
    /// <param name="prepare">Attaches to the client before it connects.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    public async Task<Session> DialAsync(Action<Session> prepare, CancellationToken cancellationToken)
    {
        var sign = _workload is null ? SasToken.SignWith(identity.SharedAccessKey!.Value) : _workload.SignAsync;
        var token = await SasToken.CreateAsync(
            SasToken.Audience(identity), timeProvider.GetUtcNow() + TokenLife, sign, cancellationToken);
        var options = Options(token, await GetRootsAsync(cancellationToken));

        var session = new Session(new MqttClientFactory().CreateMqttClient());
        try
        {
            prepare(session);
            using var timeout = new CancellationTokenSource(ConnectTimeout, timeProvider);
            using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
            var answer = await session.Client.ConnectAsync(options, deadline.Token);
            if (answer.ResultCode != MqttClientConnectResultCode.Success) throw new RefusedException(answer.ResultCode);
            await session.Client.SubscribeAsync(
                new MqttClientSubscribeOptionsBuilder()
                    .WithTopicFilter(HubTopics.TwinAnswers, MqttQualityOfServiceLevel.AtLeastOnce)
                    .WithTopicFilter(HubTopics.DesiredPatches, MqttQualityOfServiceLevel.AtLeastOnce)
                    .WithTopicFilter(HubTopics.MethodCalls, MqttQualityOfServiceLevel.AtLeastOnce)
                    .Build(),
                deadline.Token);
            return session;
        }
        catch
        {
            session.Dispose();
            throw;
        }
    }

    /// <summary>Why a connection could not be opened, or was lost.</summary>
    public string Describe(Exception exception) => exception switch
    {
        RefusedException { Code: MqttClientConnectResultCode.ServerUnavailable } =>
            $"{identity.DialledHostName} is there, but not ready (CONNACK 3)",
        RefusedException refused => $"{identity.DialledHostName} refuses the identity {identity.ClientId} from "
            + $"{identity.Source} ({refused.Code}); is it registered and enabled, and is this machine's clock right?",
        OperationCanceledException or MqttCommunicationTimedOutException =>
            $"no answer from {identity.DialledHostName}:{Port} within {ConnectTimeout.TotalSeconds:0} s",
        WorkloadApiException => exception.Message,
        MqttCommunicationException { InnerException: { } inner } => Describe(inner),
        SocketException socket => $"{identity.DialledHostName}:{Port}: {socket.Message}",
        AuthenticationException => $"the certificate of {identity.DialledHostName} is not trusted: "
            + LogText.Clean(exception.Message),
        _ => $"{exception.GetType().Name}: {LogText.Clean(exception.Message)}",
    };

    /// <summary>Whether the network did this, and not a mistake of ours. What MQTTnet throws for a connection that is
    /// gone depends on the moment.</summary>
    public static bool IsNetwork(Exception exception) => exception is OperationCanceledException or IOException
        or SocketException or MqttCommunicationException or ObjectDisposedException or InvalidOperationException;

    public void Dispose() => _workload?.Dispose();

    private MqttClientOptions Options(SasToken token, X509Certificate2Collection? roots)
    {
        var module = identity.ModuleId is null ? "" : $"/{identity.ModuleId}";
        var userName = $"{identity.DialledHostName}/{identity.DeviceId}{module}/?api-version=2020-09-30"
            + $"&DeviceClientType={Uri.EscapeDataString(ProductInfo)}";
        return new MqttClientOptionsBuilder()
            .WithTcpServer(identity.DialledHostName, Port)
            .WithProtocolVersion(MqttProtocolVersion.V311)
            .WithClientId(identity.ClientId)
            .WithCredentials(userName, token.Text)
            .WithCleanSession(true)
            .WithKeepAlivePeriod(KeepAlive)
            .WithTimeout(ConnectTimeout)
            .WithoutPacketFragmentation()
            .WithTlsOptions(tls =>
            {
                tls.UseTls(true)
                    .WithSslProtocols(SslProtocols.Tls12 | SslProtocols.Tls13)
                    .WithTargetHost(identity.DialledHostName)
                    .WithRevocationMode(X509RevocationMode.NoCheck);
                if (roots is not null) tls.WithTrustChain(roots);
            })
            .Build();
    }

    /// <summary>The only roots to trust, or null for the system's.</summary>
    private async Task<X509Certificate2Collection?> GetRootsAsync(CancellationToken cancellationToken)
    {
        if (identity.TrustedCaFile is not { } path)
        {
            return _workload is not null && identity.GatewayHostName is not null
                ? await _workload.GetTrustBundleAsync(cancellationToken)
                : null;
        }

        try
        {
            var roots = new X509Certificate2Collection();
            roots.ImportFromPemFile(path);
            return roots.Count > 0 ? roots : [X509CertificateLoader.LoadCertificateFromFile(path)];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new WorkloadApiException(
                $"EdgeModuleCACertificateFile: '{path}' can't be read as a certificate: {exception.Message}", exception);
        }
    }

    private sealed class RefusedException(MqttClientConnectResultCode code) : Exception
    {
        public MqttClientConnectResultCode Code => code;
    }
}
