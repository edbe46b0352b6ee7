using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using MQTTnet;
using MQTTnet.Formatter;
using MQTTnet.Packets;
using MQTTnet.Protocol;
using SensorForwarder.EdgeHub;
using SensorForwarder.Net;
using SensorForwarder.Sensors;
using SensorForwarder.Text;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>An open connection to a broker.</summary>
/// <param name="Client">Connected and subscribed; the caller disposes it.</param>
/// <param name="HasSession">Whether the broker had a session, with the messages since the last connection.</param>
/// <param name="Refused">The fault if the broker refuses some of the topics; null: it grants all.</param>
internal sealed record MqttConnection(IMqttClient Client, bool HasSession, SensorFault? Refused);

/// <summary>
/// Opens connections to one broker. They share one session, which the broker keeps when a connection ends. Uses MQTT 5
/// if the broker supports it, because then the broker sends retained messages only once; otherwise 3.1.1. Not
/// thread-safe.
/// </summary>
internal sealed class MqttDialer(
    MqttSubscription subscription, string clientId, MqttSecrets secrets, Dialer dialer, TimeProvider timeProvider)
{
    // Messages that an MQTT 5 broker may send before the first is acknowledged. They share a commit, and fit into the
    // memory for waiting messages even if all have the largest size.
    const ushort MaxUnacknowledged = 64;

    // Payloads that are too large to store are read and acknowledged up to this size. An MQTT 5 broker drops larger
    // packets; an MQTT 3.1.1 broker is disconnected.
    const int MaxPacketBytes = IntakeLimits.MaxRequestBytes;

    static readonly TimeSpan StepTimeout = TimeSpan.FromSeconds(10);
    static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(30);

    bool _speaksOnly311;

    /// <summary>Connects and subscribes.</summary>
    /// <param name="prepare">Attaches handlers to the client before it connects.</param>
    /// <param name="unwanted">Topics to unsubscribe from: the session may still have them.</param>
    /// <exception cref="SensorFault">The connection could not be opened; the message says why.</exception>
    public async Task<MqttConnection> OpenAsync(
        Action<IMqttClient> prepare, IReadOnlyCollection<string> unwanted, CancellationToken cancellationToken)
    {
        var (client, hasSession) = await ConnectAsync(prepare, isLast: false, cancellationToken);
        try
        {
            SensorFault? refused = null;
            await WaitAsync(
                "the answer to SUBSCRIBE", async token => refused = await SubscribeAsync(client, unwanted, token),
                cancellationToken);
            return new(client, hasSession, refused);
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    /// <summary>Ends the session: the broker stops keeping messages for it.</summary>
    /// <exception cref="SensorFault">The session could not be ended; the message says why.</exception>
    public async Task EndSessionAsync(CancellationToken cancellationToken)
    {
        var (client, _) = await ConnectAsync(static _ => { }, isLast: true, cancellationToken);
        using var own = client;
        await WaitAsync("the end", token => client.DisconnectAsync(new(), token), cancellationToken);
    }

    async Task<(IMqttClient Client, bool HasSession)> ConnectAsync(
        Action<IMqttClient> prepare, bool isLast, CancellationToken cancellationToken)
    {
        if (secrets.For is { } only && only != subscription.Broker)
            throw new SensorFault(FaultReason.Denied, $"user name, password and certificate are for {only} and not for "
                + $"{subscription.Broker} (Mqtt__{subscription.Name}__SecretsFor)");
        if (!_speaksOnly311)
        {
            try
            {
                return await ConnectAsync(MqttProtocolVersion.V500, prepare, isLast, cancellationToken);
            }
            catch (OtherVersionException)
            {
                // The answer to MQTT 5 does not show the cause: the attempt with 3.1.1 does.
            }
        }

        var connected = await ConnectAsync(MqttProtocolVersion.V311, prepare, isLast, cancellationToken);
        _speaksOnly311 = true;
        return connected;
    }

    async Task<(IMqttClient Client, bool HasSession)> ConnectAsync(
        MqttProtocolVersion version, Action<IMqttClient> prepare, bool isLast, CancellationToken cancellationToken)
    {
        var stream = new PacketLimit(await OpenStreamAsync(cancellationToken), MaxPacketBytes);
        var client = new MqttClientFactory().CreateMqttClient();
        try
        {
            prepare(client);
            var options = Options(stream, version, isLast);
            MqttClientConnectResult answer = null!;
            await WaitAsync(
                "the answer to CONNECT", async token => answer = await client.ConnectAsync(options, token),
                cancellationToken, isFirst: version == MqttProtocolVersion.V500);
            if (answer.ResultCode == MqttClientConnectResultCode.Success)
                return (client, answer.IsSessionPresent);
            throw version == MqttProtocolVersion.V500
                && answer.ResultCode == MqttClientConnectResultCode.UnsupportedProtocolVersion
                ? new OtherVersionException()
                : Refused(answer);
        }
        catch
        {
            client.Dispose();
            await stream.DisposeAsync();
            throw;
        }
    }

    async Task<SensorFault?> SubscribeAsync(
        IMqttClient client, IReadOnlyCollection<string> unwanted, CancellationToken cancellationToken)
    {
        if (unwanted.Count > 0)
            await client.UnsubscribeAsync(new() { TopicFilters = [.. unwanted] }, cancellationToken);

        // Subscribes with each connection, because the broker may have lost the session.
        var options = new MqttClientSubscribeOptions
        {
            TopicFilters =
            [
                .. subscription.Topics.Select(topic => new MqttTopicFilter
                {
                    Topic = topic,
                    QualityOfServiceLevel = MqttQualityOfServiceLevel.AtLeastOnce,
                    RetainHandling = client.Options.ProtocolVersion == MqttProtocolVersion.V500
                        ? MqttRetainHandling.SendAtSubscribeIfNewSubscriptionOnly
                        : MqttRetainHandling.SendAtSubscribe,
                }),
            ],
        };
        var result = await client.SubscribeAsync(options, cancellationToken);
        var refused = result.Items.Where(item => item.ResultCode > MqttClientSubscribeResultCode.GrantedQoS2)
            .Select(item => item.TopicFilter.Topic).ToList();
        return refused.Count == 0
            ? null
            : new(FaultReason.Denied, $"{subscription.Broker} refuses the topic {refused[0]}"
                + (refused.Count == 1 ? "" : $" and {refused.Count - 1} more"));
    }

    async Task<Stream> OpenStreamAsync(CancellationToken cancellationToken)
    {
        var broker = subscription.Broker;
        ClientTls? tls = null;
        if (broker.IsTls && !secrets.Tls.TryRead(out tls, out var fault))
            throw new SensorFault(FaultReason.Error, fault);
        Stream stream;
        try
        {
            var socket = await dialer.ConnectAsync(broker.Host, broker.Port, StepTimeout, cancellationToken);
            stream = new NetworkStream(socket, ownsSocket: true);
        }
        catch (NotConnectedException exception)
        {
            throw new SensorFault(FaultReason.Absent, $"{broker}: {exception.Message}");
        }

        return tls is null ? stream : await SecureAsync(stream, tls, cancellationToken);
    }

    async Task<Stream> SecureAsync(Stream stream, ClientTls tls, CancellationToken cancellationToken)
    {
        var secure = new SslStream(stream);
        try
        {
            var options = tls.ToOptions();
            options.TargetHost = subscription.Broker.Host;
            await WaitAsync(
                "the TLS handshake", token => secure.AuthenticateAsClientAsync(options, token), cancellationToken);
            return secure;
        }
        catch
        {
            await secure.DisposeAsync();
            throw;
        }
    }

    MqttClientOptions Options(Stream stream, MqttProtocolVersion version, bool isLast)
    {
        var builder = new MqttClientOptionsBuilder()
            .WithTcpServer(subscription.Broker.Host, subscription.Broker.Port)
            .WithStreamProvider(new OpenStream(stream))
            .WithProtocolVersion(version)
            .WithClientId(clientId)
            .WithCleanSession(isLast)
            .WithKeepAlivePeriod(KeepAlive)
            .WithTimeout(StepTimeout)
            .WithoutPacketFragmentation();
        if (version == MqttProtocolVersion.V500)
        {
            builder.WithReceiveMaximum(MaxUnacknowledged).WithMaximumPacketSize(MaxPacketBytes)
                .WithSessionExpiryInterval(isLast ? 0 : uint.MaxValue);
        }

        if (secrets.UserName is { } user) builder.WithCredentials(user, secrets.ReadPassword());
        return builder.Build();
    }

    SensorFault Refused(MqttClientConnectResult answer)
    {
        var (broker, variable) = (subscription.Broker, $"Mqtt__{subscription.Name}__UserName");
        switch (answer.ResultCode)
        {
            case MqttClientConnectResultCode.BadUserNameOrPassword or MqttClientConnectResultCode.NotAuthorized
                or MqttClientConnectResultCode.Banned:
                return new(FaultReason.Denied, secrets.UserName is null
                    ? $"{broker} requires a user name and password: set {variable} and "
                        + $"Mqtt__{subscription.Name}__Password"
                    : $"{broker} refuses the user name or the password ({variable} and ..Password or ..PasswordFile)");
            case MqttClientConnectResultCode.ClientIdentifierNotValid:
                return new(
                    FaultReason.Denied, $"{broker} refuses the client id {LogText.Clean(clientId)}; set clientId");
            default:
                var words = answer.ReasonString is { Length: > 0 } reason ? $": {LogText.Clean(reason)}" : "";
                return new(FaultReason.Error, $"{broker} refuses the connection ({answer.ResultCode}{words})");
        }
    }

    /// <summary>Runs one step of connecting, with a timeout.</summary>
    /// <param name="step">The step in words, for the message of a timeout.</param>
    /// <param name="run">The step.</param>
    /// <param name="isFirst">Whether the step may fail because the broker does not support the version.</param>
    async Task WaitAsync(
        string step, Func<CancellationToken, Task> run, CancellationToken cancellationToken, bool isFirst = false)
    {
        using var late = new CancellationTokenSource(StepTimeout, timeProvider);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, late.Token);
        try
        {
            await run(either.Token);
        }
        catch (Exception exception) when (exception is not SensorFault)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (late.IsCancellationRequested)
                throw new SensorFault(
                    FaultReason.Timeout, $"{subscription.Broker}: timed out waiting for {step}");
            if (isFirst) throw new OtherVersionException();
            var text = exception is AuthenticationException
                ? $"TLS: {TlsText.Describe(exception, timeProvider)}"
                : NetworkText.Describe(exception);
            throw new SensorFault(FaultReason.Io, $"{subscription.Broker}: {text}");
        }
    }

    /// <summary>The broker may not support MQTT 5.</summary>
    sealed class OtherVersionException : Exception;
}
