using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Authentication;
using System.Text;
using DotNetty.Codecs.Mqtt.Packets;
using Microsoft.Azure.Devices.Client;
using Microsoft.Azure.Devices.Client.Exceptions;
using Microsoft.Azure.Devices.Client.Transport.Mqtt;
using Microsoft.Azure.Devices.Shared;

namespace SensorForwarder.EdgeHub.DeviceSdk;

/// <summary>
/// One <see cref="ModuleClient"/> from its first connection to the end of that connection. The SDK does not retry:
/// after a cut its senders sleep for a second, and it sends again in no particular order. Every call ends with the
/// connection, since the SDK itself can wait for ever. Thread-safe.
/// </summary>
internal sealed class SdkSession : Session
{
    // For twin requests.
    static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(60);

    readonly ModuleClient _client;
    readonly TimeProvider _timeProvider;

    public SdkSession(
        EdgeIdentity identity, HubOptions options, SasToken token, ServerTrust trust, TimeProvider timeProvider)
        : base(options.Transport, timeProvider)
    {
        _timeProvider = timeProvider;
        _client = ModuleClient.Create(
            identity.HubHostName, identity.GatewayHostName,
            new ModuleAuthenticationWithToken(identity.DeviceId, identity.ModuleId, token.Text),
            [.. Transports(options.Transport).Select(transport => new MqttTransportSettings(transport)
            {
                RemoteCertificateValidationCallback = trust.Validate,
                KeepAliveInSeconds = 60,

                // With the subscriptions of an earlier session, messages could arrive before the handler is set, and
                // the SDK acknowledges those without a handler.
                CleanSession = true,

                // The SDK acknowledges what it receives in the order of arrival only, and closes the connection when a
                // slow method is overtaken. Without inputs nothing needs an acknowledgement.
                ReceivingQoS = HasInputs(identity) ? QualityOfService.AtLeastOnce : QualityOfService.AtMostOnce,
            })],
            new() { ModelId = options.ModelId });
        _client.SetRetryPolicy(new NoRetry());
        _client.SetConnectionStatusChangesHandler((status, reason) =>
        {
            if (status != ConnectionStatus.Connected) Finish(new(Describe(reason), ByPeer: true));
        });
    }

    /// <summary>Connects and subscribes.</summary>
    public async Task OpenAsync(
        Action<TwinCollection> desired, MethodCallback method, MessageHandler? input,
        CancellationToken cancellationToken)
    {
        async Task Open()
        {
            await _client.OpenAsync(cancellationToken);
            await _client.SetDesiredPropertyUpdateCallbackAsync((patch, _) =>
            {
                desired(patch);
                return Task.CompletedTask;
            }, null, cancellationToken);
            await _client.SetMethodDefaultHandlerAsync(method, null, cancellationToken);
            if (input is not null) await _client.SetMessageHandlerAsync(input, null, cancellationToken);
        }

        // The SDK ignores the token while it waits for a SUBACK.
        await Open().WaitAsync(cancellationToken);
    }

    public override async Task SendAsync(string topic, HubMessage message)
    {
        try
        {
            using var sent = ToSdk(message, out var output);
            await (output is null ? _client.SendEventAsync(sent, Ended) : _client.SendEventAsync(output, sent, Ended))
                .WaitAsync(Ended);
        }
        catch (Exception exception)
        {
            // May be the first sign of a lost connection.
            Finish(new(Describe(exception), ByPeer: true));
            throw;
        }
    }

    public override Task<HubAnswer> GetTwinAsync(CancellationToken cancellationToken) => AskAsync(async token =>
    {
        var twin = (await _client.GetTwinAsync(token)).Properties;
        return new(200, Encoding.UTF8.GetBytes(
            $$"""{"desired":{{twin.Desired.ToJson()}},"reported":{{twin.Reported.ToJson()}}}"""));
    }, cancellationToken);

    public override Task<HubAnswer> PatchReportedAsync(
        ReadOnlyMemory<byte> patch, CancellationToken cancellationToken) =>
        AskAsync(async token =>
        {
            await _client.UpdateReportedPropertiesAsync(
                new TwinCollection(Encoding.UTF8.GetString(patch.Span)), token);
            return new(204, ReadOnlyMemory<byte>.Empty);
        }, cancellationToken);

    // In the background: the SDK can wait for a dead connection.
    public override void Dispose() => _ = Task.Run(_client.Dispose, CancellationToken.None);

    /// <summary>Why a call of the SDK failed: the cause is several exceptions deep.</summary>
    public static string Describe(Exception exception)
    {
        for (var cause = exception; cause is not null; cause = cause.InnerException)
            if (cause is SocketException or AuthenticationException) return NetworkText.Describe(cause);
        return NetworkText.Describe(exception.GetBaseException());
    }

    public static bool HasInputs(EdgeIdentity identity) => HubTopics.Inputs(identity) is not null;

    protected override Task DisconnectAsync() =>
        Task.Run(() => _client.CloseAsync(CancellationToken.None), CancellationToken.None);

    static TransportType[] Transports(HubTransport transport) => transport switch
    {
        HubTransport.Mqtt => [TransportType.Mqtt_Tcp_Only],
        HubTransport.MqttWs => [TransportType.Mqtt_WebSocket_Only],
        _ => [TransportType.Mqtt_Tcp_Only, TransportType.Mqtt_WebSocket_Only],
    };

    static string Describe(ConnectionStatusChangeReason reason) => reason switch
    {
        ConnectionStatusChangeReason.Bad_Credential or ConnectionStatusChangeReason.Expired_SAS_Token
            or ConnectionStatusChangeReason.Device_Disabled => $"the hub no longer accepts the identity ({reason})",
        _ => "the connection was lost",
    };

    static Message ToSdk(HubMessage message, out string? output)
    {
        output = null;
        var sent = new Message(MemoryMarshal.TryGetArray(message.Body, out var body)
            ? new MemoryStream(body.Array!, body.Offset, body.Count, writable: false)
            : new MemoryStream(message.Body.ToArray(), writable: false));
        foreach (var (name, value) in message.Properties)
        {
            switch (name)
            {
                case "$.on":
                    output = value;
                    break;
                case "$.mid":
                    sent.MessageId = value;
                    break;
                case "$.ct":
                    sent.ContentType = value;
                    break;
                case "$.ce":
                    sent.ContentEncoding = value;
                    break;
                case "$.ctime":
                    sent.CreationTimeUtc = DateTime.Parse(
                        value, CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind);
                    break;
                case "$.sub":
                    sent.ComponentName = value;
                    break;
                default:
                    sent.Properties[name] = value;
                    break;
            }
        }

        return sent;
    }

    async Task<HubAnswer> AskAsync(
        Func<CancellationToken, Task<HubAnswer>> askAsync, CancellationToken cancellationToken)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, Ended);
        try
        {
            return await askAsync(over.Token).WaitAsync(AnswerTimeout, _timeProvider, over.Token);
        }
        catch (IotHubThrottledException)
        {
            return new(429, ReadOnlyMemory<byte>.Empty);
        }
        catch (IotHubException exception) when (StatusIn(exception.Message) is { } status)
        {
            return new(status, ReadOnlyMemory<byte>.Empty);
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested)
        {
            // There is no answer, whatever the reason. The end of the connection is reported elsewhere.
            return default;
        }
    }

    // "Request ... returned status 400": the SDK has no property for it (MqttTransportHandler.cs).
    static int? StatusIn(string message) => int.TryParse(
        message.AsSpan(message.LastIndexOf(' ') + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var status)
        ? status
        : null;
}
