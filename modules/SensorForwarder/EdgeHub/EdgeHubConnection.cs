using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using MQTTnet;
using MQTTnet.Protocol;

namespace SensorForwarder.EdgeHub;

/// <summary>
/// <see cref="IEdgeHubClient"/> over MQTT 3.1.1 and TLS on port 8883. One loop connects, waits, and connects again, for
/// as long as it takes; each connection is a new MQTT client, since edgeHub can lose a CONNECT (iotedge #7539).
/// </summary>
internal sealed class EdgeHubConnection(
    EdgeIdentity identity, TimeProvider timeProvider, Random random, ILogger<EdgeHubConnection> logger)
    : BackgroundService, IEdgeHubClient
{
    // edgeHub closes the connection above this, fixed header included (DotNetty MqttDecoder.cs:219).
    private const int MaxPacketBytes = 262_144;
    private const int PacketOverheadBytes = 5 + 2 + 2;
    private const int MaxMethodsAtOnce = 16;

    // A twin request can stall edgeHub for 20 s, and everything behind it on the connection waits.
    private static readonly TimeSpan AcknowledgeTimeout = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan SynchronizeTimeout = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan RenewAfter = HubDialer.TokenLife * 0.8;
    private static readonly TimeSpan BackoffBase = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan BackoffMax = TimeSpan.FromSeconds(60);

    // A connection that lives shorter than this does not reset the back-off, and several in a row mean a rival.
    private static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(10);
    private const int ShortLivesOfARival = 3;

    private readonly HubDialer _dialer = new(identity, timeProvider);
    private readonly LogThrottle _throttle = new(timeProvider);
    private readonly TwinRequests _twinRequests = new(timeProvider);
    private readonly SemaphoreSlim _methodSlots = new(MaxMethodsAtOnce);
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private TaskCompletionSource _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Session? _session;
    private HubStatus _status = new(HubState.Disconnected, timeProvider.GetUtcNow(), null, 0);

    public EdgeIdentity Identity => identity;

    public IEdgeHubHandler? Handler { get; set; }

    public HubStatus Status
    {
        get { lock (_gate) return _status; }
    }

    public Task WaitUntilConnectedAsync(CancellationToken cancellationToken)
    {
        lock (_gate) return _connected.Task.WaitAsync(cancellationToken);
    }

    public async Task<HubSendResult> SendAsync(HubMessage message, CancellationToken cancellationToken)
    {
        var topic = HubTopics.Telemetry(identity, message.Properties);
        var packetBytes = PacketOverheadBytes + System.Text.Encoding.UTF8.GetByteCount(topic) + message.Body.Length;
        if (packetBytes > MaxPacketBytes)
            return new(HubSendStatus.TooLarge, $"{packetBytes} bytes are more than the hub's {MaxPacketBytes}");

        Session? session;
        lock (_gate) session = _connected.Task.IsCompleted ? _session : null;
        if (session is null || !session.TryEnter()) return new(HubSendStatus.NotConnected, "not connected");

        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, session.Ended);
        deadline.CancelAfter(AcknowledgeTimeout);
        try
        {
            var result = await session.Client.PublishAsync(
                new MqttApplicationMessage
                {
                    Topic = topic,
                    Payload = new(message.Body),
                    QualityOfServiceLevel = MqttQualityOfServiceLevel.AtLeastOnce,
                },
                deadline.Token);
            return result.IsSuccess
                ? new(HubSendStatus.Accepted, "")
                : new(HubSendStatus.NotConnected, $"refused: {result.ReasonCode}");
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested && HubDialer.IsNetwork(exception))
        {
            if (session.Ended.IsCancellationRequested || !session.Client.IsConnected)
                return new(HubSendStatus.NotConnected, "the connection was lost before the acknowledgement");

            // Pings may still be answered while this one is lost for good: only a new connection gets out of that.
            var reason = $"no acknowledgement within {AcknowledgeTimeout.TotalSeconds:0} s";
            session.End(reason);
            return new(HubSendStatus.TimedOut, reason);
        }
        finally
        {
            session.Leave();
        }
    }

    public Task<HubAnswer> GetTwinAsync(CancellationToken cancellationToken) =>
        AskAsync(HubTopics.TwinGet, ReadOnlyMemory<byte>.Empty, cancellationToken);

    public Task<HubAnswer> PatchReportedAsync(ReadOnlyMemory<byte> patch, CancellationToken cancellationToken) =>
        AskAsync(HubTopics.ReportedPatch, patch, cancellationToken);

    public override void Dispose()
    {
        _dialer.Dispose();
        _methodSlots.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var failures = 0;
        var shortLives = 0;
        while (!stoppingToken.IsCancellationRequested)
        {
            string reason;
            try
            {
                SetStatus(HubState.Connecting);
                using var session = await _dialer.DialAsync(Attach, stoppingToken);
                var opened = timeProvider.GetTimestamp();
                reason = await ServeAsync(session, stoppingToken);
                if (reason.Length == 0) continue; // the token is renewed: no outage, no waiting

                var life = timeProvider.GetElapsedTime(opened);
                shortLives = life < ShortLife ? shortLives + 1 : 0;
                failures = life < ShortLife ? failures + 1 : 1;
                if (shortLives == ShortLivesOfARival) Log.RivalSuspected(logger, identity.ClientId, shortLives);
                _throttle.Reset();
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                break;
            }
            catch (Exception exception)
            {
                failures++;
                reason = _dialer.Describe(exception);
            }

            if (stoppingToken.IsCancellationRequested) break;
            var delay = Backoff.Next(failures, BackoffBase, BackoffMax, random.NextDouble());
            SetStatus(HubState.Disconnected, reason);
            if (_throttle.ShouldLog(reason, out var heldBack))
                Log.Disconnected(logger, identity.DialledHostName, reason, delay.TotalSeconds, heldBack);
            await Task.Delay(delay, timeProvider, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private void Attach(Session session)
    {
        session.Client.ApplicationMessageReceivedAsync += message => OnMessageAsync(session, message);
        session.Client.DisconnectedAsync += args =>
        {
            session.End(args.Exception is null ? "closed by the hub" : _dialer.Describe(args.Exception));
            return Task.CompletedTask;
        };
    }

    /// <summary>Uses the connection until it ends. Returns why it ended; empty when only the token is to be renewed.</summary>
    private async Task<string> ServeAsync(Session session, CancellationToken stoppingToken)
    {
        var renewAt = Task.Delay(RenewAfter, timeProvider, session.Ended);
        lock (_gate) _session = session;
        try
        {
            using (var deadline = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken, session.Ended))
            {
                // Without an answer about the twin the last good settings do: telemetry must not wait for ever.
                deadline.CancelAfter(SynchronizeTimeout);
                if (Handler is not null)
                {
                    await Handler.OnConnectedAsync(deadline.Token)
                        .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
                }
            }

            if (!session.Ended.IsCancellationRequested && !stoppingToken.IsCancellationRequested)
            {
                SetStatus(HubState.Connected);
                Log.Connected(logger, identity.DialledHostName, identity.ClientId);
                lock (_gate) _connected.TrySetResult();
            }

            await Task.WhenAny(renewAt, Task.Delay(Timeout.InfiniteTimeSpan, timeProvider, stoppingToken));
            return session.Reason;
        }
        finally
        {
            lock (_gate)
            {
                if (_connected.Task.IsCompleted)
                    _connected = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                _session = null;
            }

            await session.CloseAsync(AcknowledgeTimeout, timeProvider, stoppingToken);
            _twinRequests.Abandon();
        }
    }

    private Task<HubAnswer> AskAsync(
        Func<string, string> topic, ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        Session? session;
        lock (_gate) session = _session;
        return session is null
            ? Task.FromResult(default(HubAnswer))
            : _twinRequests.AskAsync(session, topic, body, cancellationToken);
    }

    private Task OnMessageAsync(Session session, MqttApplicationMessageReceivedEventArgs args)
    {
        // Nothing here may throw or wait: MQTTnet reads the next packet only after this returns.
        var topic = args.ApplicationMessage.Topic;
        var payload = System.Buffers.BuffersExtensions.ToArray(args.ApplicationMessage.Payload);
        if (HubTopics.TryParseTwinAnswer(topic, out var status, out var requestId))
        {
            _twinRequests.Answer(requestId, new(status, payload));
        }
        else if (HubTopics.TryParseDesiredPatch(topic, out var version))
        {
            Handler?.OnDesiredPatch(version, payload);
        }
        else if (HubTopics.TryParseMethodCall(topic, out var name, out requestId))
        {
            _ = AnswerMethodAsync(session, name, requestId, payload);
        }

        return Task.CompletedTask;
    }

    private async Task AnswerMethodAsync(Session session, string name, string requestId, byte[] payload)
    {
        await Task.Yield();
        var answer = new MethodAnswer(429, """{"error":"too many methods at once; try again"}"""u8.ToArray());
        if (_methodSlots.Wait(0))
        {
            try
            {
                if (Handler is not null) answer = await Handler.OnMethodAsync(name, payload, session.Ended);
            }
            catch (Exception exception)
            {
                Log.MethodFailed(logger, LogText.Clean(name), exception);
                answer = new(500, """{"error":"the method failed; see the module's log"}"""u8.ToArray());
            }
            finally
            {
                _methodSlots.Release();
            }
        }

        try
        {
            await session.Client.PublishAsync(
                new MqttApplicationMessage { Topic = HubTopics.MethodAnswer(answer.Status, requestId), Payload = new(answer.Body) },
                session.Ended);
        }
        catch (Exception exception) when (HubDialer.IsNetwork(exception))
        {
            // The caller gets a time-out; the connection's end is told elsewhere.
        }
    }

    private void SetStatus(HubState state, string? error = null)
    {
        lock (_gate)
        {
            if (_status.State == state && error is null) return;
            var lost = error is not null && _status.State == HubState.Connected ? 1 : 0;
            _status = new(
                state,
                _status.State == state ? _status.Since : timeProvider.GetUtcNow(),
                error ?? _status.LastError,
                _status.Reconnects + lost);
        }
    }
}
