using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using MQTTnet;
using SensorForwarder.Net;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// <see cref="IEdgeHubClient"/> over MQTT 3.1.1 and TLS. One loop connects, serves the connection until it ends, backs
/// off and reconnects, until the module stops. Each attempt uses a new MQTT client, since edgeHub can lose a CONNECT
/// (iotedge #7539). Public members are thread-safe.
/// </summary>
internal sealed class EdgeHubConnection : BackgroundService, IEdgeHubClient
{
    const int ReportedMaxBytes = 32 << 10;
    const string Stopped = "stopped";

    // How long a renewal waits for acknowledgements. The token is still valid for a fifth of its life.
    static readonly TimeSpan RenewalPatience = TimeSpan.FromMinutes(5);

    // How long a stop waits for acknowledgements: the forwarder has already waited for its batches.
    static readonly TimeSpan DrainPatience = TimeSpan.FromSeconds(1);

    readonly EdgeIdentity _identity;
    readonly TimeProvider _timeProvider;
    readonly ILogger _logger;
    readonly HubDialer _dialer;
    readonly ReconnectPolicy _policy;
    readonly TelemetrySends _sends;
    readonly TwinRequests _twinRequests;
    readonly MethodCalls _methods;
    readonly InputDeliveries _inputs;
    readonly Lock _gate = new();

    // Guarded by _gate.
    TaskCompletionSource _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
    HubStatus _status;

    // The current connection; null: none. Subscribed, but not necessarily open for telemetry yet.
    volatile Session? _session;
    long _renewals;

    public EdgeHubConnection(
        EdgeIdentity identity,
        HubOptions options,
        TimeProvider timeProvider,
        Random random,
        ILogger<EdgeHubConnection> logger,
        Dialer? dialer = null)
    {
        _identity = identity;
        _timeProvider = timeProvider;
        _logger = logger;
        _dialer = new(identity, options, timeProvider, random, dialer);
        _policy = new(timeProvider, random);
        _sends = new(identity);
        _twinRequests = new(timeProvider);
        _methods = new(() => Handler, () => _session, WaitUntilConnectedAsync, timeProvider, logger);
        _inputs = new(() => Handler, timeProvider, logger);
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
        Interlocked.Read(ref _renewals),
        _sends.Sent,
        _sends.Acknowledged,
        _sends.TimedOut,
        _sends.Bytes,
        _methods.Calls);

    /// <summary>Twin requests and method calls in progress: for tests that check for leaks.</summary>
    internal int OpenRequests => _twinRequests.Waiting + _methods.Open;

    /// <summary>Messages in flight: for tests that advance the clock.</summary>
    internal int UnderWay => _session?.UnderWay ?? 0;

    public Task WaitUntilConnectedAsync(CancellationToken cancellationToken)
    {
        lock (_gate) return _connected.Task.WaitAsync(cancellationToken);
    }

    public Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken) =>
        _sends.SendAsync(message, cancellationToken);

    public Task<HubAnswer> GetTwinAsync(CancellationToken cancellationToken) =>
        AskAsync(HubTopics.TwinGet, ReadOnlyMemory<byte>.Empty, cancellationToken);

    public Task<HubAnswer> PatchReportedAsync(ReadOnlyMemory<byte> patch, CancellationToken cancellationToken) =>
        patch.Length > ReportedMaxBytes
            ? Task.FromResult(new HubAnswer(413, ReadOnlyMemory<byte>.Empty))
            : AskAsync(HubTopics.ReportedPatch, patch, cancellationToken);

    public override void Dispose()
    {
        base.Dispose();
        _session?.Finish(new("disposed"));
        _session?.Dispose();
        _dialer.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var inputs = _inputs.RunAsync(stoppingToken);
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await ConnectAndServeAsync(stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                break;
            }
            catch (Exception exception)
            {
                // A programming error: it must be logged, and must not end the loop.
                EdgeHubLog.ConnectionFailed(_logger, exception);
                await PauseAsync(exception.GetType()
                    .Name, _policy.AfterFailure(DialFailure.Unsupported), stoppingToken);
            }
        }

        _sends.Gate.Close();
        SetStatus(HubState.Disconnected, Stopped, isOutage: false);
        await inputs;
    }

    async Task ConnectAndServeAsync(CancellationToken stoppingToken)
    {
        // During a renewal of the token the state stays Connected.
        if (Status.State == HubState.Disconnected) SetStatus(HubState.Connecting);
        _dialer.OpenTimeout = _policy.OpenTimeout;
        Session session;
        TimeSpan renewIn;
        try
        {
            (session, renewIn) = await _dialer.DialAsync(opened => Attach(opened, stoppingToken), stoppingToken);
        }
        catch (DialException exception)
        {
            await PauseAsync(exception.Message, _policy.AfterFailure(exception.Failure), stoppingToken);
            return;
        }

        var opened = _timeProvider.GetTimestamp();
        var end = await ServeAsync(session, renewIn, stoppingToken);
        stoppingToken.ThrowIfCancellationRequested();
        var delay = _policy.AfterEnd(_timeProvider.GetElapsedTime(opened), end?.ByPeer == true);
        if (end is null)
        {
            Interlocked.Increment(ref _renewals);
            return;
        }

        if (_policy.ShortLives == ReconnectPolicy.ShortLivesOfARival)
            EdgeHubLog.RivalSuspected(
                _logger, _identity.ClientId, _policy.ShortLives, ReconnectPolicy.RivalLife.TotalSeconds);
        await PauseAsync(end.Reason, delay, stoppingToken);
    }

    /// <summary>Serves a connection until it ends.</summary>
    /// <returns>Why it ended; null: the token must be renewed.</returns>
    async Task<SessionEnd?> ServeAsync(Session session, TimeSpan renewIn, CancellationToken stoppingToken)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken, session.Ended);
        _session = session;
        var watching = session.WatchAsync();
        var renews = false;
        try
        {
            await Synchronization.RunAsync(Handler, _timeProvider, _logger, over.Token);
            if (!over.IsCancellationRequested)
            {
                Open(session);
                if (renewIn < TimeSpan.Zero && renewIn != Timeout.InfiniteTimeSpan) renewIn = TimeSpan.Zero;
                await Task.Delay(renewIn, _timeProvider, over.Token)
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

            if (renews)
            {
                _sends.Gate.Pause();
            }
            else
            {
                // The status before the gate, the reverse of Open. A session without an end means a stop.
                SetStatus(HubState.Disconnected, session.End?.Reason ?? Stopped, isOutage: session.End is not null);
                _sends.Gate.Close();
            }

            if (session.End is null) await session.DrainAsync(renews ? RenewalPatience : DrainPatience);
            await session.CloseAsync();
            _session = null;
            await watching;
        }

        return renews ? null : session.End;
    }

    void Open(Session session)
    {
        // The gate before the status: whoever sees "connected" may send.
        _sends.Gate.Open(session);
        if (Status.State != HubState.Connected)
        {
            SetStatus(HubState.Connected);
            var proxy = _dialer.Through(session.Transport);
            EdgeHubLog.Connected(_logger, _identity.DialledHostName, _identity.ClientId, session.Transport, proxy);
        }

        lock (_gate) _connected.TrySetResult();
    }

    async Task PauseAsync(string reason, TimeSpan delay, CancellationToken stoppingToken)
    {
        _sends.Gate.Close();
        SetStatus(HubState.Disconnected, reason);
        EdgeHubLog.Disconnected(_logger, _identity.DialledHostName, reason, delay.TotalSeconds);
        var step = await ClockWatch.DelayAsync(delay, _timeProvider, stoppingToken);
        if (step == TimeSpan.Zero) return;
        EdgeHubLog.ClockStepped(_logger, step.TotalSeconds);
        _dialer.ForgetCredentials();
    }

    void Attach(Session session, CancellationToken stoppingToken)
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

    Task<HubAnswer> AskAsync(
        Func<string, string> topic, ReadOnlyMemory<byte> body, CancellationToken cancellationToken) =>
        _session is { } session
            ? _twinRequests.AskAsync(session, topic, body, cancellationToken)
            : Task.FromResult(default(HubAnswer));

    Task OnMessageAsync(
        Session session, MqttApplicationMessageReceivedEventArgs args, CancellationToken stoppingToken)
    {
        // Must not throw or wait: MQTTnet acknowledges the message and reads the next one only after this returns.
        try
        {
            var topic = args.ApplicationMessage.Topic;
            var payload = System.Buffers.BuffersExtensions.ToArray(args.ApplicationMessage.Payload);
            if (HubTopics.TryParseTwinAnswer(topic, out var status, out var requestId))
                _twinRequests.Answer(requestId, new(status, payload));
            else if (HubTopics.TryParseDesiredPatch(topic, out var version))
                Handler?.OnDesiredPatch(version, payload);
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

    void SetStatus(HubState state, string? error = null, bool isOutage = true)
    {
        lock (_gate) _status = _status.Then(state, error, isOutage, Moment.Now(_timeProvider));
    }
}
