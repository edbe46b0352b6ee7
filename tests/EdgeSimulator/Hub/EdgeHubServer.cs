using System.Buffers;
using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Metrics;
using EdgeSimulator.Twins;
using MQTTnet;
using MQTTnet.Packets;
using MQTTnet.Protocol;
using MQTTnet.Server;

namespace EdgeSimulator.Hub;

/// <summary>
/// edgeHub's MQTT endpoint for one module, and for a second one that only sends messages to the first one's inputs.
/// MQTTnet manages connections and packets; each message is processed here before its PUBACK is sent. MQTTnet's own
/// routing between clients is not used. Handlers run on MQTTnet's threads.
/// </summary>
internal sealed class EdgeHubServer : IDisposable
{
    /// <summary>Duration of a restart; 2 to 5 s in the real edgeHub.</summary>
    public static readonly TimeSpan RestartTime = TimeSpan.FromSeconds(3);

    readonly ModuleIdentity _identity;
    readonly FaultSwitches _faults;
    readonly TimeProvider _time;
    readonly RunLog _log;
    readonly GatewayListener _listener;
    readonly ConnectionGate _gate;
    readonly ModuleTwin _twin;
    readonly HubMetrics _metrics;
    readonly PublishIntake _intake;
    readonly TelemetryIntake _telemetry;
    readonly TokenWatch _tokens;
    readonly MqttServer _server;
    readonly ITimer _start;
    readonly CancellationTokenSource _stop = new();
    readonly Lock _lock = new();
    readonly Subscriptions _subscriptions = new();
    ModuleConnection? _current;
    MqttSessionStatus? _session;

    public EdgeHubServer(
        ModuleIdentity identity, GatewayListener listener, ModuleTwin twin, Upstream upstream, HubMetrics metrics, FaultSwitches faults,
        TimeProvider time, RunLog log, ModuleIdentity? sender = null)
    {
        _identity = identity;
        _faults = faults;
        _time = time;
        _log = log;
        _listener = listener;
        _gate = new ConnectionGate(identity, sender, faults, time);
        _tokens = new TokenWatch(faults, time, () => Current, Drop);
        _twin = twin;
        _metrics = metrics;
        Ledger = upstream.Ledger;
        Methods = new MethodEndpoint(metrics, time, TrySend);
        Inputs = new InputEndpoint(identity, _subscriptions, time, log, TrySend);
        _telemetry = new TelemetryIntake(upstream, Inputs, faults, metrics, time, log);
        _intake = new PublishIntake(
            _telemetry, new TwinEndpoint(twin, faults, time, log, metrics, TrySend),
            Methods, Drop, log);

        // Sessions persist to keep subscriptions, as in edgeHub. OnOutboundAsync suppresses MQTTnet's redelivery of old
        // messages.
        var options = new MqttServerOptionsBuilder().WithoutDefaultEndpoint().WithPersistentSessions(true).Build();
        _server = new MqttServerFactory().CreateMqttServer(options, [listener]);
        _server.ValidatingConnectionAsync += OnConnectAsync;
        _server.ClientConnectedAsync += OnConnectedAsync;
        _server.ClientDisconnectedAsync += OnDisconnectedAsync;
        _server.InterceptingSubscriptionAsync += OnSubscribeAsync;
        _server.InterceptingUnsubscriptionAsync += OnUnsubscribeAsync;
        _server.InterceptingPublishAsync += OnPublishAsync;
        _server.InterceptingOutboundPacketAsync += OnOutboundAsync;
        _server.InterceptingInboundPacketAsync += OnInboundAsync;
        faults.Changed += OnFaultsChanged;
        _start = time.CreateTimer(
            _ => faults.Update(f => f with { HubStopped = false }), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Raised when the module has connected.</summary>
    public event Action? Connected;

    public ModuleIdentity Identity => _identity;

    public Ledger Ledger { get; }

    public MethodEndpoint Methods { get; }

    public InputEndpoint Inputs { get; }

    /// <summary>Whether the module has connected at least once.</summary>
    public bool HasBeenConnected { get; private set; }

    /// <summary>Whether the module has disconnected without a cause in the simulator, so that it may not
    /// reconnect.</summary>
    public bool HasLeft { get; private set; }

    public bool IsConnected => Current is not null;

    /// <summary>Whether the module is connected and subscribed to direct methods.</summary>
    public bool IsReachable => IsConnected && _subscriptions.QualityOf(MethodEndpoint.Filter) is not null;

    public async Task StartAsync()
    {
        await _server.StartAsync().ConfigureAwait(false);
        _ = _tokens.RunAsync(_stop.Token);
        _ = Inputs.RunAsync(_stop.Token);
    }

    public async Task StopAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Close();
        await _server.StopAsync().ConfigureAwait(false);
    }

    /// <summary>Resets the connection. The cause explains duplicates of messages in flight.</summary>
    public void Cut(string cause)
    {
        ExpectEnd(cause);
        _listener.CutAll();
        Ledger.Interrupted(cause);
    }

    /// <summary>Stops edgeHub and restarts it after <see cref="RestartTime"/>.</summary>
    public void Restart()
    {
        _faults.Update(f => f with { HubStopped = true });
        _start.Change(RestartTime, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Records why the simulator is about to end the connection.</summary>
    public void ExpectEnd(string cause)
    {
        lock (_lock)
        {
            if (_current is { } connection)
            {
                connection.EndCause ??= cause;
            }
        }
    }

    public void Dispose()
    {
        _start.Dispose();
        _stop.Cancel();
        _server.Dispose();
        _listener.Dispose();
        _stop.Dispose();
    }

    ModuleConnection? Current
    {
        get
        {
            lock (_lock)
            {
                return _current;
            }
        }
    }

    /// <summary>Closes one connection as edgeHub does, without a DISCONNECT.</summary>
    void Drop(ModuleConnection connection) => _listener.Cut(connection.Remote);

    void OnFaultsChanged(FaultSettings before, FaultSettings after)
    {
        if ((before.Blackout, before.HubStopped, before.MqttPortBlocked) != (after.Blackout, after.HubStopped, after.MqttPortBlocked))
        {
            var cause = after.Blackout && !before.Blackout ? Causes.Blackout
                : after.HubStopped && !before.HubStopped ? Causes.HubRestarted
                : after.MqttPortBlocked && !before.MqttPortBlocked ? Causes.MqttPortBlocked
                : null;
            if (cause is not null)
            {
                ExpectEnd(cause);
            }

            _listener.Apply(after);
            if (cause is not null)
            {
                Ledger.Interrupted(cause);
            }
        }

        if (before.HalfOpen && !after.HalfOpen)
        {
            // Silent connections stay silent, so they are reset here instead of waiting for the module's timeout.
            Cut(Causes.HalfOpen);
        }
    }

    async Task OnConnectAsync(ValidatingConnectionEventArgs e)
    {
        if (_faults.Current.NoConnack)
        {
            await NeverAnswerAsync(e).ConfigureAwait(false);
            return;
        }

        var decision = _gate.Decide(e.ProtocolVersion, e.ClientId, e.UserName, e.Password);
        e.ReasonCode = decision.Code;
        if (decision.Code != MqttConnectReasonCode.Success)
        {
            _metrics.Refused(decision.Code == MqttConnectReasonCode.NotAuthorized ? "not_authenticated" : "protocol");
            _log.Write($"connection refused ({decision.Code}): {decision.Reason}");
            return;
        }

        if (e.ClientId != _identity.ClientId)
        {
            return;
        }

        _twin.ModelId = decision.ModelId;
        var connection = new ModuleConnection(e.RemoteEndPoint, e.ChannelAdapter, decision.TokenExpiry);
        lock (_lock)
        {
            if (_current is { } older)
            {
                // OnDisconnectedAsync ignores the older connection, since it is no longer the current one by then.
                Inputs.Disconnected();
                Ledger.Interrupted(older.EndCause ?? Causes.TakenOver);
                _log.Write($"connection ended: {older.EndCause ?? Causes.TakenOver}");
            }

            if (e.CleanSession == true)
            {
                _subscriptions.Clear();
            }

            _current = connection;
        }
    }

    /// <summary>Leaves a CONNECT unanswered, and closes the connection when the fault ends.</summary>
    async Task NeverAnswerAsync(ValidatingConnectionEventArgs e)
    {
        e.ReasonCode = MqttConnectReasonCode.ServerUnavailable;
        while (_faults.Current.NoConnack && _listener.IsOpen(e.RemoteEndPoint))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(100), _time, _stop.Token).ConfigureAwait(false);
        }

        _listener.Cut(e.RemoteEndPoint);
    }

    async Task OnConnectedAsync(ClientConnectedEventArgs e)
    {
        if (e.ClientId != _identity.ClientId)
        {
            _log.Write($"module {e.ClientId} connected; it sends to inputs");
            return;
        }

        var session = await _server.GetSessionAsync(e.ClientId).ConfigureAwait(false);
        lock (_lock)
        {
            _session = session;
            (HasBeenConnected, HasLeft) = (true, false);
        }

        _metrics.Connected();
        _log.Write("module connected");
        Connected?.Invoke();
    }

    Task OnDisconnectedAsync(ClientDisconnectedEventArgs e)
    {
        string? cause;
        lock (_lock)
        {
            if (_current is null || !_current.Remote.Equals(e.RemoteEndPoint))
            {
                return Task.CompletedTask;
            }

            cause = _current.EndCause;
            _current = null;
            HasLeft = cause is null;
        }

        Inputs.Disconnected();
        if (e.DisconnectType == MqttClientDisconnectType.Clean)
        {
            // For example to renew its token. The module sends unacknowledged messages again.
            Ledger.Interrupted(Causes.Disconnected);
            _log.Write("module disconnected");
            return Task.CompletedTask;
        }

        Ledger.Interrupted(cause ?? Causes.ConnectionLost);
        _log.Write($"connection ended: {cause ?? Causes.ConnectionLost}");
        return Task.CompletedTask;
    }

    Task OnSubscribeAsync(InterceptingSubscriptionEventArgs e)
    {
        // edgeHub accepts every topic filter and grants at most QoS 1.
        if (e.TopicFilter.QualityOfServiceLevel > MqttQualityOfServiceLevel.AtLeastOnce)
        {
            e.TopicFilter.QualityOfServiceLevel = MqttQualityOfServiceLevel.AtLeastOnce;
            e.Response.ReasonCode = MqttSubscribeReasonCode.GrantedQoS1;
        }

        if (e.ClientId == _identity.ClientId)
        {
            _subscriptions.Add(e.TopicFilter.Topic, e.TopicFilter.QualityOfServiceLevel);
        }

        return Task.CompletedTask;
    }

    Task OnUnsubscribeAsync(InterceptingUnsubscriptionEventArgs e)
    {
        if (e.ClientId == _identity.ClientId)
        {
            _subscriptions.Remove(e.Topic);
        }

        return Task.CompletedTask;
    }

    async Task OnPublishAsync(InterceptingPublishEventArgs e)
    {
        e.ProcessPublish = false;
        if (e.ClientId != _identity.ClientId)
        {
            if (HubTopic.Parse(e.ApplicationMessage.Topic) is HubTopic.Telemetry telemetry)
            {
                await _telemetry.TakeFromOtherAsync(telemetry, BuffersExtensions.ToArray(e.ApplicationMessage.Payload), e.CancellationToken)
                    .ConfigureAwait(false);
            }
        }
        else if (Current is { } connection)
        {
            await _intake.TakeAsync(connection, e).ConfigureAwait(false);
        }
    }

    async Task OnOutboundAsync(InterceptingPacketEventArgs e)
    {
        if (Current is not { } connection || !connection.Remote.Equals(e.RemoteEndPoint))
        {
            return;
        }

        switch (e.Packet)
        {
            case MqttPublishPacket publish:
                e.ProcessPacket = connection.IsAnnounced(publish.Topic);
                if (e.ProcessPacket)
                {
                    Inputs.Leaving(publish.Topic, publish.PacketIdentifier);
                }

                break;
            case MqttPubAckPacket puback:
                await connection.Pubacks.PassAsync(puback, e).ConfigureAwait(false);
                break;
            default:
                break;
        }
    }

    Task OnInboundAsync(InterceptingPacketEventArgs e)
    {
        if (e.ClientId != _identity.ClientId || Current is not { } connection)
        {
            return Task.CompletedTask;
        }

        var isCurrent = connection.Remote.Equals(e.RemoteEndPoint);
        if (isCurrent && e.Packet is MqttPubAckPacket puback)
        {
            Inputs.Acknowledged(puback.PacketIdentifier);
        }

        // A message that the previous connection received before it was reset: the module sends it again on this one.
        e.ProcessPacket = isCurrent || e.Packet is not MqttPublishPacket;
        return Task.CompletedTask;
    }

    bool TrySend(string filter, string topic, byte[] payload)
    {
        lock (_lock)
        {
            if (_current is null || _session is null || _faults.Current.OverConnectionLimit ||
                _subscriptions.QualityOf(filter) is not { } quality)
            {
                return false;
            }

            _current.Announce(topic);
            var message = new MqttApplicationMessage { Topic = topic, Payload = new(payload), QualityOfServiceLevel = quality };
            return _session.TryEnqueueApplicationMessage(message, out _);
        }
    }
}
