using System.Text;
using Microsoft.Azure.Devices.Client;
using Microsoft.Azure.Devices.Client.Exceptions;
using Microsoft.Azure.Devices.Shared;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.EdgeHub.DeviceSdk;

/// <summary>
/// <see cref="IEdgeHubClient"/> over Microsoft's device SDK (Microsoft.Azure.Devices.Client), compiled with
/// <c>-p:HubClient=DeviceSdk</c>. The SDK brings MQTT; identity, token, trust and back-off are those of
/// <see cref="EdgeHubConnection"/>. Each connection uses a new <see cref="ModuleClient"/>. Public members are
/// thread-safe.
/// </summary>
internal sealed class SdkConnection : BackgroundService, IEdgeHubClient
{
    const int ReportedMaxBytes = 32 << 10;
    const string Stopped = "stopped";

    static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(60);
    static readonly TimeSpan DrainPatience = TimeSpan.FromSeconds(1);

    // As in InputDeliveries: a late acknowledgement could be taken for one of the next message.
    static readonly TimeSpan AcknowledgeWithin = InputMessage.AcknowledgeWithin - TimeSpan.FromSeconds(2);

    readonly EdgeIdentity _identity;
    readonly HubOptions _options;
    readonly TimeProvider _timeProvider;
    readonly ILogger _logger;
    readonly CredentialSource _credentials;
    readonly ReconnectPolicy _policy;
    readonly MethodRuns _methods;

    // Of methods and messages to inputs: the SDK closes the connection when one that came later completes earlier.
    readonly SemaphoreSlim _turn = new(1);
    readonly Lock _gate = new();

    // Guarded by _gate.
    TaskCompletionSource _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
    HubStatus _status;

    volatile SdkSession? _session; // subscribed
    volatile SdkSession? _open; // open for telemetry, too
    long _renewals;
    long _sent;
    long _acknowledged;
    long _timedOut;
    long _bytes;
    long _calls;
    int _openCalls;

    public SdkConnection(
        EdgeIdentity identity, HubOptions options, TimeProvider timeProvider, Random random,
        ILogger<SdkConnection> logger)
    {
        _identity = identity;
        _options = options;
        _timeProvider = timeProvider;
        _logger = logger;
        _credentials = new(identity, options.TokenLife, timeProvider, random);
        _policy = new(timeProvider, random);
        _methods = new(() => Handler, timeProvider, logger);
        _status = new(HubState.Disconnected, Moment.Now(timeProvider), null, 0);
    }

    /// <summary>How long a stop waits for a hub that does not respond.</summary>
    public static TimeSpan StopPatience => DrainPatience + Session.GoodbyeTimeout;

    public string Host => _identity.DialledHostName;

    public IEdgeHubHandler? Handler { get; set; }

    public HubStatus Status
    {
        get { lock (_gate) return _status; }
    }

    public HubCounters Counters => new(
        Interlocked.Read(ref _renewals), Interlocked.Read(ref _sent), Interlocked.Read(ref _acknowledged),
        Interlocked.Read(ref _timedOut), Interlocked.Read(ref _bytes), Interlocked.Read(ref _calls));

    /// <summary>Method calls in progress: for tests that check for leaks.</summary>
    internal int OpenRequests => Volatile.Read(ref _openCalls);

    public Task WaitUntilConnectedAsync(CancellationToken cancellationToken)
    {
        lock (_gate) return _connected.Task.WaitAsync(cancellationToken);
    }

    public Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken)
    {
        var topic = HubTopics.Telemetry(_identity, message.Properties);
        var bytes = PacketSize.OfPublish(topic, message.Body.Length);
        if (PacketSize.Objection(_identity, message, topic, bytes) is { } objection)
            return Task.FromResult(new HubSendResult(HubSendStatus.Refused, objection));
        return _open is { } session
            ? DeliverAsync(session, message, bytes).WaitAsync(cancellationToken)
            : Task.FromResult(new HubSendResult(HubSendStatus.Retry, "not connected"));
    }

    public Task<HubAnswer> GetTwinAsync(CancellationToken cancellationToken) =>
        _session?.GetTwinAsync(cancellationToken) ?? Task.FromResult(default(HubAnswer));

    public Task<HubAnswer> PatchReportedAsync(ReadOnlyMemory<byte> patch, CancellationToken cancellationToken) =>
        patch.Length > ReportedMaxBytes
            ? Task.FromResult(new HubAnswer(413, ReadOnlyMemory<byte>.Empty))
            : _session?.PatchReportedAsync(patch, cancellationToken) ?? Task.FromResult(default(HubAnswer));

    public override void Dispose()
    {
        base.Dispose();
        _session?.Finish(new("disposed"));
        _credentials.Dispose();
        _turn.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                var (reason, delay) = await ConnectAndServeAsync(stoppingToken);
                if (delay > TimeSpan.Zero) await PauseAsync(reason, delay, stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                break;
            }
            catch (DialException exception)
            {
                await PauseAsync(exception.Message, _policy.AfterFailure(exception.Failure), stoppingToken);
            }
            catch (Exception exception)
            {
                // An error of this program or of the SDK: it must be logged, and must not end the loop.
                EdgeHubLog.ConnectionFailed(_logger, exception);
                var delay = _policy.AfterFailure(DialFailure.Unsupported);
                await PauseAsync(exception.GetType().Name, delay, stoppingToken);
            }
        }

        SetStatus(HubState.Disconnected, Stopped, isOutage: false);
    }

    async Task<(string Reason, TimeSpan Delay)> ConnectAndServeAsync(CancellationToken stoppingToken)
    {
        if (Status.State == HubState.Disconnected) SetStatus(HubState.Connecting);
        var (session, renewIn) = await OpenAsync(stoppingToken);
        var opened = _timeProvider.GetTimestamp();
        var end = await ServeAsync(session, renewIn, stoppingToken);
        stoppingToken.ThrowIfCancellationRequested();
        var delay = _policy.AfterEnd(_timeProvider.GetElapsedTime(opened), end?.ByPeer == true);
        if (end is not null) return (end.Reason, delay);
        Interlocked.Increment(ref _renewals);
        return ("", TimeSpan.Zero);
    }

    async Task<(SdkSession Session, TimeSpan RenewIn)> OpenAsync(CancellationToken stoppingToken)
    {
        if (_identity.ModuleId is null || _identity.Tls.Certificate is not null)
        {
            throw new DialException(DialFailure.Unsupported, "this build uses Microsoft's device SDK, and with it only "
                + $"modules with a key or the workload API can connect, but {_identity.Source} is "
                + (_identity.ModuleId is null ? "a device" : "an X.509 identity") + ". Use the default build");
        }

        var credentials = await _credentials.GetAsync(stoppingToken);
        using var timeout = new CancellationTokenSource(_policy.OpenTimeout * 2, _timeProvider);
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken, timeout.Token);
        var trust = new ServerTrust(Host, credentials.Roots, _timeProvider)
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
                throw new DialException(DialFailure.Refused, $"{Host} refuses the identity {_identity.ClientId} from "
                    + $"{_identity.Source}. Is it registered and enabled, and is the key correct? This machine's clock "
                    + $"says {_timeProvider.GetUtcNow():u}: is the time correct?", exception);
            }

            throw new DialException(DialFailure.Unreachable, $"{Host}: " + (timeout.IsCancellationRequested
                ? "timed out waiting for the connection"
                : SdkSession.Describe(exception)), exception);
        }
    }

    /// <summary>Serves a connection until it ends.</summary>
    /// <returns>Why it ended; null: the token must be renewed.</returns>
    async Task<SessionEnd?> ServeAsync(SdkSession session, TimeSpan renewIn, CancellationToken stoppingToken)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken, session.Ended);
        _session = session;
        var renews = false;
        try
        {
            await Synchronization.RunAsync(Handler, _timeProvider, _logger, over.Token);
            if (!over.IsCancellationRequested)
            {
                Open(session);
                await Task.Delay(renewIn < TimeSpan.Zero ? TimeSpan.Zero : renewIn, _timeProvider, over.Token)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                renews = !over.IsCancellationRequested;
            }
        }
        finally
        {
            lock (_gate)
            {
                if (_connected.Task.IsCompleted) _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
            }

            var end = session.End;
            SetStatus(HubState.Disconnected, renews ? null : end?.Reason ?? Stopped, isOutage: end is not null);
            _open = null;
            if (session.End is null) await session.DrainAsync(renews ? Session.AcknowledgeTimeout : DrainPatience);
            _session = null;
            await session.CloseAsync();
        }

        return renews ? null : session.End;
    }

    void Open(SdkSession session)
    {
        _open = session;
        SetStatus(HubState.Connected);
        EdgeHubLog.Connected(_logger, Host, _identity.ClientId, _options.Transport, " with Microsoft's device SDK");
        lock (_gate) _connected.TrySetResult();
    }

    async Task PauseAsync(string reason, TimeSpan delay, CancellationToken stoppingToken)
    {
        SetStatus(HubState.Disconnected, reason);
        EdgeHubLog.Disconnected(_logger, Host, reason, delay.TotalSeconds);
        try
        {
            var step = await ClockWatch.DelayAsync(delay, _timeProvider, stoppingToken);
            if (step == TimeSpan.Zero) return;
            EdgeHubLog.ClockStepped(_logger, step.TotalSeconds);
            _credentials.Forget();
        }
        catch (OperationCanceledException)
        {
            // The loop ends.
        }
    }

    /// <summary>Sends one message. Never throws.</summary>
    async Task<HubSendResult> DeliverAsync(SdkSession session, HubMessage message, int bytes)
    {
        Interlocked.Increment(ref _sent);
        try
        {
            await session.SendAsync(message, bytes);
            Interlocked.Increment(ref _acknowledged);
            Interlocked.Add(ref _bytes, bytes);
            return new(HubSendStatus.Accepted, "");
        }
        catch (TimeoutException) when (session.End is null)
        {
            Interlocked.Increment(ref _timedOut);
            session.Finish(new($"no acknowledgement within {Session.AcknowledgeTimeout.TotalSeconds:0} s"));
        }
        catch (Exception exception)
        {
            // May be the first sign of it.
            session.Finish(new(SdkSession.Describe(exception), ByPeer: true));
        }

        return new(HubSendStatus.Retry, session.End?.Reason ?? "the connection was lost before the acknowledgement");
    }

    void OnDesired(TwinCollection patch)
    {
        try
        {
            Handler?.OnDesiredPatch(
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
        // The SDK has no answer that makes edgeHub deliver a message again at once over MQTT: it does so after 30 s.
        var arrived = _timeProvider.GetTimestamp();
        try
        {
            var received = new InputMessage(message.InputName, Properties(message), message.GetBytes());
            using var turn = await Turn.TakeAsync(_turn, stoppingToken);

            // What came over a connection that is lost comes again over the next one.
            var isTaken = !session.Ended.IsCancellationRequested && Handler is { } handler
                && await handler.OnInputAsync(received, stoppingToken).WaitAsync(stoppingToken);
            return isTaken && _timeProvider.GetElapsedTime(arrived) < AcknowledgeWithin
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
        // Without properties, the SDK takes "inputs" from the topic for one.
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

    void SetStatus(HubState state, string? error = null, bool isOutage = true)
    {
        lock (_gate) _status = _status.Then(state, error, isOutage, Moment.Now(_timeProvider));
    }
}
