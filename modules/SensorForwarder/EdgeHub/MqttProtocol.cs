using Microsoft.Extensions.Logging;
using MQTTnet;
using SensorForwarder.Net;
using SensorForwarder.Text;

namespace SensorForwarder.EdgeHub;

/// <summary>The hub's MQTT 3.1.1 over TLS, by our own client: opens sessions with <see cref="HubDialer"/>, and sorts
/// the messages that arrive by their topic. Used by <see cref="EdgeHubConnection"/> only.</summary>
internal sealed class MqttProtocol : IHubProtocol
{
    readonly EdgeHubConnection _connection;
    readonly EdgeIdentity _identity;
    readonly ILogger _logger;
    readonly HubDialer _dialer;
    readonly MethodCalls _methods;
    readonly InputDeliveries _inputs;

    public MqttProtocol(
        EdgeHubConnection connection, EdgeIdentity identity, HubOptions options, TimeProvider timeProvider,
        Random random, ILogger logger, Dialer? dialer)
    {
        _connection = connection;
        _identity = identity;
        _logger = logger;
        _dialer = new(identity, options, timeProvider, random, dialer);
        _methods = new(
            () => connection.Handler, () => (MqttSession?)connection.Session, connection.WaitUntilConnectedAsync,
            timeProvider, logger);
        _inputs = new(() => connection.Handler, timeProvider, logger);
    }

    public long MethodCalls => _methods.Calls;

    public int OpenCalls => _methods.Open;

    public async Task<(Session Session, TimeSpan RenewIn)> OpenAsync(
        TimeSpan openTimeout, CancellationToken stoppingToken)
    {
        _dialer.OpenTimeout = openTimeout;
        return await _dialer.DialAsync(session => Attach(session, stoppingToken), stoppingToken);
    }

    public string Note(Session session) => _dialer.Through(session.Transport);

    public void ForgetCredentials() => _dialer.ForgetCredentials();

    public Task RunAsync(CancellationToken stoppingToken) => _inputs.RunAsync(stoppingToken);

    public void Dispose() => _dialer.Dispose();

    void Attach(MqttSession session, CancellationToken stoppingToken)
    {
        session.Client.ApplicationMessageReceivedAsync += message => OnMessageAsync(session, message, stoppingToken);
        session.Client.DisconnectedAsync += args =>
        {
            session.Finish(new(args.Exception is null
                ? "closed by the hub"
                : NetworkText.Describe(args.Exception), ByPeer: true));
            return Task.CompletedTask;
        };
    }

    Task OnMessageAsync(
        MqttSession session, MqttApplicationMessageReceivedEventArgs args, CancellationToken stoppingToken)
    {
        // Must not throw or wait: MQTTnet acknowledges the message and reads the next one only after this returns.
        try
        {
            var topic = args.ApplicationMessage.Topic;
            var payload = System.Buffers.BuffersExtensions.ToArray(args.ApplicationMessage.Payload);
            if (HubTopics.TryParseTwinAnswer(topic, out var status, out var requestId))
                session.TwinRequests.Answer(requestId, new(status, payload));
            else if (HubTopics.TryParseDesiredPatch(topic, out var version))
                _connection.Handler?.OnDesiredPatch(version, payload);
            else if (HubTopics.TryParseMethodCall(topic, out var name, out requestId))
                _methods.Take(name, requestId, payload, stoppingToken);
            else if (HubTopics.TryParseInput(_identity, topic, out var input, out var properties))
                _inputs.Take(session, args, new(input, properties, payload));
            else
                EdgeHubLog.UnknownTopic(_logger, LogText.Clean(topic));
        }
        catch (Exception exception)
        {
            EdgeHubLog.MessageFailed(_logger, exception);
        }

        return Task.CompletedTask;
    }
}
