using System.Text;
using Microsoft.Azure.Devices.Client;
using Microsoft.Azure.Devices.Client.Exceptions;
using Microsoft.Azure.Devices.Shared;
using Microsoft.Extensions.Logging;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.EdgeHub.DeviceSdk;

/// <summary>
/// Microsoft's device SDK (Microsoft.Azure.Devices.Client) under <see cref="EdgeHubConnection"/>, compiled with
/// <c>-p:HubClient=DeviceSdk</c>. The SDK only speaks MQTT; identity, token, trust, order and back-off are ours. Each
/// session uses a new <see cref="ModuleClient"/>. Thread-safe, except that one loop opens the sessions.
/// </summary>
internal sealed class SdkProtocol : IHubProtocol
{
    static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(60);

    readonly EdgeHubConnection _connection;
    readonly EdgeIdentity _identity;
    readonly HubOptions _options;
    readonly TimeProvider _timeProvider;
    readonly ILogger _logger;
    readonly CredentialSource _credentials;
    readonly MethodRuns _methods;

    // Methods and messages to inputs run one at a time: the SDK closes the connection when a later one completes
    // earlier.
    readonly SemaphoreSlim _turn = new(1);

    long _calls;
    int _openCalls;

    SdkProtocol(
        EdgeHubConnection connection, EdgeIdentity identity, HubOptions options, TimeProvider timeProvider,
        Random random, ILogger logger)
    {
        _connection = connection;
        _identity = identity;
        _options = options;
        _timeProvider = timeProvider;
        _logger = logger;
        _credentials = new(identity, options.TokenLife, timeProvider, random);
        _methods = new(() => connection.Handler, timeProvider, logger);
    }

    public long MethodCalls => Interlocked.Read(ref _calls);

    public int OpenCalls => Volatile.Read(ref _openCalls);

    /// <summary>A connection with the SDK, not yet started.</summary>
    public static EdgeHubConnection NewConnection(
        EdgeIdentity identity, HubOptions options, TimeProvider timeProvider, Random random,
        ILogger<EdgeHubConnection> logger) =>
        new(identity, timeProvider, random, logger, connection =>
            new SdkProtocol(connection, identity, options, timeProvider, random, logger));

    public async Task<(Session Session, TimeSpan RenewIn)> OpenAsync(
        TimeSpan openTimeout, CancellationToken stoppingToken)
    {
        if (_identity.ModuleId is null || _identity.Tls.Certificate is not null)
        {
            throw new DialException(DialFailure.Unsupported, "this build uses Microsoft's device SDK, and with it only "
                + $"modules with a key or the workload API can connect, but {_identity.Source} is "
                + (_identity.ModuleId is null ? "a device" : "an X.509 identity") + ". Use the default build");
        }

        var host = _identity.DialledHostName;
        var credentials = await _credentials.GetAsync(stoppingToken);
        using var timeout = new CancellationTokenSource(openTimeout * 2, _timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken, timeout.Token);
        var trust = new ServerTrust(host, credentials.Roots, _timeProvider)
        {
            Accepted = () => timeout.CancelAfter(ConnectTimeout),
        };
        var session = new SdkSession(_identity, _options, credentials.Token!, trust, _timeProvider);
        try
        {
            await session.OpenAsync(
                OnDesired, (request, _) => OnMethodAsync(request, stoppingToken),
                SdkSession.HasInputs(_identity)
                    ? (message, _) => OnInputAsync(session, message, stoppingToken)
                    : null,
                deadline.Token);
            return (session, _credentials.RenewIn(credentials));
        }
        catch (Exception exception)
        {
            await session.CloseAsync();
            stoppingToken.ThrowIfCancellationRequested();
            if (trust.Objection is { } objection) throw objection;
            if (exception is UnauthorizedException)
            {
                _credentials.Forget();
                throw DialException.IdentityRefused(_identity, "", _timeProvider, exception);
            }

            throw new DialException(DialFailure.Unreachable, $"{host}: " + (timeout.IsCancellationRequested
                ? "timed out waiting for the connection"
                : SdkSession.Describe(exception)), exception);
        }
    }

    public string Note(Session session) => " with Microsoft's device SDK";

    public void ForgetCredentials() => _credentials.Forget();

    // The SDK calls the handlers on its own threads.
    public Task RunAsync(CancellationToken stoppingToken) => Task.CompletedTask;

    public void Dispose()
    {
        _credentials.Dispose();
        _turn.Dispose();
    }

    void OnDesired(TwinCollection patch)
    {
        try
        {
            _connection.Handler?.OnDesiredPatch(
                patch.Contains("$version") ? patch.Version : null, Encoding.UTF8.GetBytes(patch.ToJson()));
        }
        catch (Exception exception)
        {
            EdgeHubLog.MessageFailed(_logger, exception);
        }
    }

    async Task<MethodResponse> OnMethodAsync(MethodRequest request, CancellationToken stoppingToken)
    {
        Interlocked.Increment(ref _calls);
        Interlocked.Increment(ref _openCalls);
        try
        {
            using var turn = await Turn.TakeAsync(_turn, stoppingToken);
            var answer = await _methods.RunAsync(request.Name, request.Data, stoppingToken);
            return new(answer.Body.ToArray(), answer.Status);
        }
        finally
        {
            Interlocked.Decrement(ref _openCalls);
        }
    }

    async Task<MessageResponse> OnInputAsync(SdkSession session, Message message, CancellationToken stoppingToken)
    {
        // Over MQTT, the SDK can't ask edgeHub to deliver a message again at once: edgeHub does so after 30 s.
        var arrived = _timeProvider.GetTimestamp();
        try
        {
            var received = new InputMessage(message.InputName, Properties(message), message.GetBytes());
            using var turn = await Turn.TakeAsync(_turn, stoppingToken);

            // edgeHub delivers the messages of a lost connection again over the next one.
            var isTaken = !session.Ended.IsCancellationRequested && _connection.Handler is { } handler
                && await handler.OnInputAsync(received, stoppingToken).WaitAsync(stoppingToken);
            return isTaken && _timeProvider.GetElapsedTime(arrived) < InputDeliveries.AcknowledgeWithin
                ? MessageResponse.Completed
                : MessageResponse.None;
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            return MessageResponse.None;
        }
        catch (Exception exception)
        {
            EdgeHubLog.InputFailed(_logger, LogText.Clean(message.InputName), exception);
            return MessageResponse.None;
        }
    }

    static List<KeyValuePair<string, string?>> Properties(Message message)
    {
        // If a message has no properties, the SDK reads the segment "inputs" of the topic as a property.
        var properties = message.Properties.Where(property => property is not { Key: "inputs", Value: null })
            .Select(property => new KeyValuePair<string, string?>(property.Key, property.Value)).ToList();
        void Add(string name, string? value)
        {
            if (value is not null) properties.Add(new(name, value));
        }

        Add("$.mid", message.MessageId);
        Add("$.ct", message.ContentType);
        Add("$.ce", message.ContentEncoding);
        Add("$.cdid", message.ConnectionDeviceId);
        Add("$.cmid", message.ConnectionModuleId);
        return properties;
    }
}
