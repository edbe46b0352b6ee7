using System.Buffers;
using System.Text;
using EdgeSimulator.Accounting;
using EdgeSimulator.Display;
using EdgeSimulator.Faults;
using EdgeSimulator.Twins;
using MQTTnet;
using MQTTnet.Packets;
using MQTTnet.Protocol;
using MQTTnet.Server;

namespace EdgeSimulator.Hub;

/// <summary>
/// edgeHub's MQTT side for one module. MQTTnet keeps the connections; what a message means is decided here, before its PUBACK goes
/// out. Nothing is ever routed from client to client.
/// </summary>
internal sealed class EdgeHubServer : IDisposable
{
    /// <summary>The largest MQTT packet with its fixed header; beyond it edgeHub drops the connection.</summary>
    public const int PacketMaxBytes = 262_144;

    static readonly TimeSpan TokenCheckInterval = TimeSpan.FromSeconds(1);

    readonly ModuleIdentity _identity;
    readonly FaultSwitches _faults;
    readonly TimeProvider _time;
    readonly RunLog _log;
    readonly GatewayListener _listener;
    readonly ConnectionGate _gate;
    readonly TwinEndpoint _twin;
    readonly TelemetryIntake _intake;
    readonly MqttServer _server;
    readonly CancellationTokenSource _stop = new();
    readonly Lock _lock = new();
    readonly Dictionary<string, MqttQualityOfServiceLevel> _subscriptions = new(StringComparer.Ordinal);
    ModuleConnection? _current;
    MqttSessionStatus? _session;

    public EdgeHubServer(
        ModuleIdentity identity, GatewayListener listener, ModuleTwin twin, Ledger ledger, RecentMessages recent,
        FaultSwitches faults, TimeProvider time, RunLog log)
    {
        _identity = identity;
        _faults = faults;
        _time = time;
        _log = log;
        _listener = listener;
        _gate = new ConnectionGate(identity, faults, time);
        _twin = new TwinEndpoint(twin, faults, time, log, TrySend);
        _intake = new TelemetryIntake(ledger, recent, faults, time, log);
        Ledger = ledger;
        Methods = new MethodEndpoint(time, TrySend);

        // Sessions persist, so that subscriptions do, as with edgeHub; what MQTTnet would deliver again is held back in OnOutbound.
        var options = new MqttServerOptionsBuilder().WithoutDefaultEndpoint().WithPersistentSessions(true).Build();
        _server = new MqttServerFactory().CreateMqttServer(options, [listener]);
        _server.ValidatingConnectionAsync += OnConnectAsync;
        _server.ClientConnectedAsync += OnConnectedAsync;
        _server.ClientDisconnectedAsync += OnDisconnectedAsync;
        _server.InterceptingSubscriptionAsync += OnSubscribeAsync;
        _server.InterceptingUnsubscriptionAsync += OnUnsubscribeAsync;
        _server.InterceptingPublishAsync += OnPublishAsync;
        _server.InterceptingOutboundPacketAsync += OnOutboundAsync;
        faults.Changed += OnFaultsChanged;
    }

    /// <summary>The module has connected.</summary>
    public event Action? Connected;

    public ModuleIdentity Identity => _identity;

    public Ledger Ledger { get; }

    public MethodEndpoint Methods { get; }

    /// <summary>The module has been connected at least once.</summary>
    public bool HasBeenConnected { get; private set; }

    public bool IsConnected
    {
        get
        {
            lock (_lock)
            {
                return _current is not null;
            }
        }
    }

    /// <summary>Connected, and direct methods reach it.</summary>
    public bool IsReachable
    {
        get
        {
            lock (_lock)
            {
                return _current is not null && _subscriptions.ContainsKey(MethodEndpoint.Filter);
            }
        }
    }

    public async Task StartAsync()
    {
        await _server.StartAsync().ConfigureAwait(false);
        _ = CloseOnExpiredTokenAsync(_stop.Token);
    }

    public async Task StopAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Close();
        await _server.StopAsync().ConfigureAwait(false);
    }

    /// <summary>Ends the connection abruptly; messages in flight may come again because of it.</summary>
    public void Cut(string cause)
    {
        ExpectEnd(cause);
        _listener.CutAll();
        Ledger.Interrupted(cause);
    }

    /// <summary>The connection is about to end for a reason that the simulator knows.</summary>
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
        _stop.Cancel();
        _server.Dispose();
        _listener.Dispose();
        _stop.Dispose();
    }

    void OnFaultsChanged(FaultSettings before, FaultSettings after)
    {
        if (after.Blackout != before.Blackout)
        {
            if (after.Blackout)
            {
                ExpectEnd(Causes.Blackout);
                _listener.Close();
                Ledger.Interrupted(Causes.Blackout);
            }
            else
            {
                _listener.Open();
            }
        }

        if (before.HalfOpen && !after.HalfOpen)
        {
            // A connection that was silent stays so for ever; the module is told now rather than by its own time-out.
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
            _log.Write($"connection refused ({decision.Code}): {decision.Reason}");
            return;
        }

        var connection = new ModuleConnection(e.RemoteEndPoint, e.ChannelAdapter, decision.TokenExpiry);
        lock (_lock)
        {
            if (_current is { } older)
            {
                // MQTTnet tells of the end of the older one when it is no longer the current one.
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

    /// <summary>Waits until the fault is over, and then ends the connection: a CONNECT that was not answered in time never is.</summary>
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
        var session = await _server.GetSessionAsync(e.ClientId).ConfigureAwait(false);
        lock (_lock)
        {
            _session = session;
            HasBeenConnected = true;
        }

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
        }

        if (e.DisconnectType == MqttClientDisconnectType.Clean)
        {
            _log.Write("module disconnected");
            return Task.CompletedTask;
        }

        Ledger.Interrupted(cause ?? Causes.ConnectionLost);
        _log.Write($"connection ended: {cause ?? Causes.ConnectionLost}");
        return Task.CompletedTask;
    }

    Task OnSubscribeAsync(InterceptingSubscriptionEventArgs e)
    {
        // edgeHub grants QoS 1 at most, and grants it for anything.
        if (e.TopicFilter.QualityOfServiceLevel > MqttQualityOfServiceLevel.AtLeastOnce)
        {
            e.TopicFilter.QualityOfServiceLevel = MqttQualityOfServiceLevel.AtLeastOnce;
            e.Response.ReasonCode = MqttSubscribeReasonCode.GrantedQoS1;
        }

        lock (_lock)
        {
            _subscriptions[e.TopicFilter.Topic] = e.TopicFilter.QualityOfServiceLevel;
        }

        return Task.CompletedTask;
    }

    Task OnUnsubscribeAsync(InterceptingUnsubscriptionEventArgs e)
    {
        lock (_lock)
        {
            _subscriptions.Remove(e.Topic);
        }

        return Task.CompletedTask;
    }

    async Task OnPublishAsync(InterceptingPublishEventArgs e)
    {
        e.ProcessPublish = false;
        ModuleConnection? connection;
        lock (_lock)
        {
            connection = _current;
        }

        if (connection is null || e.ClientId != _identity.ClientId)
        {
            return;
        }

        var message = e.ApplicationMessage;
        var quality = message.QualityOfServiceLevel;
        var size = PacketSize(message);
        if (size > PacketMaxBytes)
        {
            _log.Write($"connection dropped: a packet of {size} bytes, edgeHub takes {PacketMaxBytes}");
            _listener.Cut(connection.Remote);
            e.CloseConnection = true;
            return;
        }

        var payload = message.Payload.ToArray();
        var receipt = await HandleAsync(connection, HubTopic.Parse(message.Topic), message.Topic, payload, e.CancellationToken)
            .ConfigureAwait(false);
        if (quality == MqttQualityOfServiceLevel.AtLeastOnce)
        {
            connection.ExpectPuback(_intake.PubackFate(receipt), receipt is null ? null : receipt.Acknowledge);
        }
        else if (quality == MqttQualityOfServiceLevel.ExactlyOnce)
        {
            _log.Write("connection dropped after a QoS 2 message: edgeHub stores it, forwards it, and closes");
            _listener.Cut(connection.Remote);
        }
    }

    async Task<Receipt?> HandleAsync(
        ModuleConnection connection, HubTopic topic, string text, byte[] payload, CancellationToken cancellationToken)
    {
        switch (topic)
        {
            case HubTopic.Telemetry telemetry:
                return await _intake.TakeAsync(telemetry, payload, cancellationToken).ConfigureAwait(false);
            case HubTopic.TwinGet { RequestId: { } requestId }:
                await _twin.GetAsync(requestId, cancellationToken).ConfigureAwait(false);
                return null;
            case HubTopic.TwinPatch { RequestId: { } requestId }:
                await _twin.PatchAsync(requestId, payload, cancellationToken).ConfigureAwait(false);
                return null;
            case HubTopic.TwinGet or HubTopic.TwinPatch:
                _log.Write($"connection dropped: no $rid in '{text}'");
                _listener.Cut(connection.Remote);
                return null;
            case HubTopic.MethodResponse response:
                Methods.Complete(response.RequestId, response.Status, payload);
                return null;
            default:
                _log.Write($"acknowledged and dropped, as edgeHub does: unknown topic '{text}'");
                return null;
        }
    }

    async Task OnOutboundAsync(InterceptingPacketEventArgs e)
    {
        ModuleConnection? connection;
        lock (_lock)
        {
            connection = _current is { } current && current.Remote.Equals(e.RemoteEndPoint) ? current : null;
        }

        if (connection is null)
        {
            return;
        }

        switch (e.Packet)
        {
            case MqttPublishPacket publish:
                e.ProcessPacket = connection.IsAnnounced(publish.Topic);
                break;
            case MqttPubAckPacket puback:
                await OnPubackAsync(connection, puback, e).ConfigureAwait(false);
                break;
            default:
                break;
        }
    }

    static async Task OnPubackAsync(ModuleConnection connection, MqttPubAckPacket puback, InterceptingPacketEventArgs e)
    {
        var (fate, acknowledged) = connection.NextPuback();
        if (fate == PubackFate.Lose)
        {
            e.ProcessPacket = false;
            return;
        }

        acknowledged?.Invoke();
        if (fate == PubackFate.SwapWithNext && connection.HeldPuback is null)
        {
            connection.HeldPuback = puback;
            e.ProcessPacket = false;
        }
        else if (connection.HeldPuback is { } held)
        {
            connection.HeldPuback = null;
            await connection.Channel.SendPacketAsync(puback, e.CancellationToken).ConfigureAwait(false);
            e.Packet = held;
        }
    }

    bool TrySend(string filter, string topic, byte[] payload)
    {
        lock (_lock)
        {
            if (_current is null || _session is null || !_subscriptions.TryGetValue(filter, out var quality))
            {
                return false;
            }

            _current.Announce(topic);
            var message = new MqttApplicationMessage { Topic = topic, Payload = new(payload), QualityOfServiceLevel = quality };
            return _session.TryEnqueueApplicationMessage(message, out _);
        }
    }

    async Task CloseOnExpiredTokenAsync(CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(TokenCheckInterval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(cancellationToken).ConfigureAwait(false))
            {
                ModuleConnection? connection;
                lock (_lock)
                {
                    connection = _current;
                }

                var now = _time.GetUtcNow().AddSeconds(_faults.Current.TokenClockSkewSeconds);
                if (connection is not null && now - SasToken.ClockSkew > connection.TokenExpiry)
                {
                    connection.EndCause ??= Causes.TokenExpired;
                    _listener.Cut(connection.Remote);
                }
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
        }
    }

    /// <summary>The size of a PUBLISH on the wire: fixed header, topic, packet id, payload.</summary>
    static long PacketSize(MqttApplicationMessage message)
    {
        var remaining = 2 + Encoding.UTF8.GetByteCount(message.Topic) + message.Payload.Length +
            (message.QualityOfServiceLevel > MqttQualityOfServiceLevel.AtMostOnce ? 2 : 0);
        var lengthBytes = remaining switch { < 128 => 1, < 16_384 => 2, < 2_097_152 => 3, _ => 4 };
        return 1 + lengthBytes + remaining;
    }
}
