using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Net;
using SensorForwarder.Time;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// <see cref="IEdgeHubClient"/> over an <see cref="IHubProtocol"/>. One loop opens a session, serves it until it ends,
/// backs off and opens the next one, until the module stops. Each attempt uses a new session, since edgeHub can lose a
/// CONNECT (iotedge #7539). Public members are thread-safe.
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
    readonly IHubProtocol _protocol;
    readonly ReconnectPolicy _policy;
    readonly TelemetrySends _sends;
    readonly Lock _gate = new();

    // Guarded by _gate.
    TaskCompletionSource _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
    HubStatus _status;

    // The current connection; null: none. Subscribed, but not necessarily open for telemetry yet.
    volatile Session? _session;
    long _renewals;

    /// <summary>Over our own MQTT client.</summary>
    public EdgeHubConnection(
        EdgeIdentity identity,
        HubOptions options,
        TimeProvider timeProvider,
        Random random,
        ILogger<EdgeHubConnection> logger,
        Dialer? dialer = null)
        : this(identity, timeProvider, random, logger, connection =>
            new MqttProtocol(connection, identity, options, timeProvider, random, logger, dialer))
    {
    }

    public EdgeHubConnection(
        EdgeIdentity identity,
        TimeProvider timeProvider,
        Random random,
        ILogger<EdgeHubConnection> logger,
        Func<EdgeHubConnection, IHubProtocol> protocol)
    {
        _identity = identity;
        _timeProvider = timeProvider;
        _logger = logger;
        _policy = new(timeProvider, random);
        _sends = new(identity);
        _status = new(HubState.Disconnected, Moment.Now(timeProvider), null, 0);
        _protocol = protocol(this);
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
        _protocol.MethodCalls);

    /// <summary>The connection to ask and answer over; null: none.</summary>
    internal Session? Session => _session;

    /// <summary>Twin requests and method calls in progress: for tests that check for leaks.</summary>
    internal int OpenRequests => _protocol.OpenCalls + ((_session as MqttSession)?.TwinRequests.Waiting ?? 0);

    /// <summary>Messages in flight: for tests that advance the clock.</summary>
    internal int UnderWay => _session?.UnderWay ?? 0;

    public Task WaitUntilConnectedAsync(CancellationToken cancellationToken)
    {
        lock (_gate) return _connected.Task.WaitAsync(cancellationToken);
    }

    public Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken) =>
        _sends.SendAsync(message, cancellationToken);

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
        _session?.Dispose();
        _protocol.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var passing = _protocol.RunAsync(stoppingToken);
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
        await passing;
    }

    async Task ConnectAndServeAsync(CancellationToken stoppingToken)
    {
        // During a renewal of the token the state stays Connected.
        if (Status.State == HubState.Disconnected) SetStatus(HubState.Connecting);
        Session session;
        TimeSpan renewIn;
        try
        {
            (session, renewIn) = await _protocol.OpenAsync(_policy.OpenTimeout, stoppingToken);
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
            var note = _protocol.Note(session);
            EdgeHubLog.Connected(_logger, Host, _identity.ClientId, session.Transport, note);
        }

        lock (_gate) _connected.TrySetResult();
    }

    async Task PauseAsync(string reason, TimeSpan delay, CancellationToken stoppingToken)
    {
        _sends.Gate.Close();
        SetStatus(HubState.Disconnected, reason);
        EdgeHubLog.Disconnected(_logger, Host, reason, delay.TotalSeconds);
        var step = await ClockWatch.DelayAsync(delay, _timeProvider, stoppingToken);
        if (step == TimeSpan.Zero) return;
        EdgeHubLog.ClockStepped(_logger, step.TotalSeconds);
        _protocol.ForgetCredentials();
    }

    void SetStatus(HubState state, string? error = null, bool isOutage = true)
    {
        lock (_gate) _status = _status.Then(state, error, isOutage, Moment.Now(_timeProvider));
    }
}
