using Microsoft.Extensions.Logging;
using SensorForwarder.Sensors;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>
/// One sensor of kind <c>mqtt</c>: connects, stores messages until the connection ends, and reconnects with a back-off.
/// Failures of broker or network never end the loop.
/// </summary>
internal sealed class MqttSource : IAsyncDisposable
{
    static readonly TimeSpan RetryBase = TimeSpan.FromSeconds(1);
    static readonly TimeSpan RetryMax = TimeSpan.FromSeconds(60);

    // A shorter connection does not reset the back-off: two clients with the same client id disconnect each other.
    static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(10);

    // Attempts to end a session, in case the broker is unreachable for a while.
    const int MaxEndings = 10;

    readonly MqttWorld _world;
    readonly MqttDialer _dialer;
    readonly LastPayloads _lastSeen;
    readonly CancellationTokenSource _stop = new();
    readonly IReadOnlyCollection<string> _unwanted;
    Task _loop = Task.CompletedTask;
    bool _hadSession;
    long _failures;
    volatile Fault? _fault;
    volatile bool _isConnected;

    /// <param name="settings">The settings of the sensor.</param>
    /// <param name="stopped">Sources that were stopped because the settings changed. If one has the same session, its
    /// state is continued.</param>
    public MqttSource(SensorSettings settings, MqttWorld world, IReadOnlyList<MqttSource> stopped)
    {
        (Settings, _world, Subscription) = (settings, world, MqttSubscription.Of(settings));
        ClientId = Subscription.ClientId ?? $"{world.ClientIdPrefix}-{settings.Name}";
        _dialer = new(
            Subscription, ClientId, world.Options.Of(settings.Name), world.Dialer, world.DialClock);
        Alarms = PushedAlarms.Of(settings, Subscription.OnlySensor, world.Alarms, world.TimeProvider, world.Log);
        Source = world.Store.Sources.Find($"{MqttPayloads.Kind} {settings.Name}", Subscription.MaxSilence);
        var before = stopped.FirstOrDefault(source => source.Session == Session);
        _lastSeen = before?._lastSeen ?? new();
        _hadSession = before?._hadSession == true;
        _unwanted = before is null
            ? []
            : [.. before._unwanted.Concat(before.Subscription.Topics).Except(Subscription.Topics)];
    }

    public SensorSettings Settings { get; }

    public MqttSubscription Subscription { get; }

    public string ClientId { get; }

    /// <summary>Counts the messages.</summary>
    public IntakeSource Source { get; }

    /// <summary>The alarms of the sensor; null: none.</summary>
    public PushedAlarms? Alarms { get; }

    public SensorHealth Health
    {
        get
        {
            var failures = Interlocked.Read(ref _failures);
            var (fault, isConnected) = (_fault, _isConnected);
            var state = isConnected ? SensorState.Working : fault is null ? SensorState.Starting : SensorState.Failing;
            return new(
                Settings.Name, Settings.Kind.Name, state, fault?.Reason, Source.Status.Accepted,
                failures, 0, null)
            {
                Detail = fault?.Text,
                Alarms = Alarms?.Status ?? [],
            };
        }
    }

    /// <summary>The session for which the broker keeps messages.</summary>
    public (MqttBroker Broker, string ClientId) Session => (Subscription.Broker, ClientId);

    /// <summary>Starts the loop.</summary>
    /// <param name="after">The loop waits for this task.</param>
    public void Start(Task after) => _loop = Task.Run(() => RunAsync(after));

    /// <summary>Stops the loop. The broker keeps later messages.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop;
        Alarms?.Dispose();
        _stop.Dispose();
    }

    /// <summary>Ends the session of a disposed source: the broker stops keeping messages for it.</summary>
    public async Task EndSessionAsync(CancellationToken cancellationToken)
    {
        for (var attempt = 1; !cancellationToken.IsCancellationRequested; attempt++)
        {
            try
            {
                await _dialer.EndSessionAsync(cancellationToken);
                IntakeLog.SessionEnded(_world.Log, Settings.Name, Subscription.Broker.ToString());
                return;
            }
            catch (SensorFault fault) when (attempt == MaxEndings)
            {
                IntakeLog.SessionRemains(
                    _world.Log, Settings.Name, Subscription.Broker.ToString(), LogText.Clean(ClientId)!, fault.Message);
                return;
            }
            catch (SensorFault)
            {
                await PauseAsync(attempt, cancellationToken);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    async Task RunAsync(Task after)
    {
        await after.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        var attempts = 0;
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                attempts = await TakeAsync() ? 1 : attempts + 1;
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                return;
            }
            catch (SensorFault fault)
            {
                NoteNoConnection(fault);
                attempts++;
            }
            catch (Exception exception)
            {
                IntakeLog.SourceFailed(_world.Log, Settings.Name, exception);
                NoteNoConnection(new(FaultReason.Error, $"{exception.GetType().Name}: {exception.Message}"));
                attempts++;
            }

            await PauseAsync(attempts, _stop.Token);
        }
    }

    /// <summary>Connects, and stores messages until the connection ends.</summary>
    /// <returns>Whether the back-off starts over.</returns>
    async Task<bool> TakeAsync()
    {
        using var session = new MqttSession(
            Subscription, _world.Store, Source, _world.Room, _lastSeen, Alarms, _world.TimeProvider);
        var (client, hasSession, refused) = await _dialer.OpenAsync(session.Attach, _unwanted, _stop.Token);
        if (_hadSession && !hasSession)
            IntakeLog.SessionLost(_world.Log, Settings.Name, Subscription.Broker.ToString());
        _hadSession = true;
        var connectedAt = _world.TimeProvider.GetTimestamp();

        // If the broker refuses some topics, the others are used, and all are requested again after RetryMax.
        using var again = new CancellationTokenSource(
            refused is null ? Timeout.InfiniteTimeSpan : RetryMax, _world.TimeProvider);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token, again.Token);
        if (refused is null)
        {
            IntakeLog.Subscribed(_world.Log, Settings.Name, Subscription.Broker.ToString());
            (_fault, _isConnected) = (null, true);
        }
        else
        {
            Note(refused);
        }

        // Refused topics do not raise an alarm: messages on the other topics arrive.
        Alarms?.NoteFault(null);
        try
        {
            var reason = await session.RunAsync(client, end.Token);
            _isConnected = false;
            if (reason is not null) NoteNoConnection(new(FaultReason.Io, $"{Subscription.Broker}: {reason}"));
        }
        finally
        {
            _isConnected = false;
        }

        return session.HasOverflowed || _world.TimeProvider.GetElapsedTime(connectedAt) >= ShortLife;
    }

    void NoteNoConnection(SensorFault fault)
    {
        Note(fault);
        Alarms?.NoteFault(fault.Reason);
    }

    void Note(SensorFault fault)
    {
        var text = LogText.Clean(fault.Message)!;
        if (_fault?.Text != text) IntakeLog.NotSubscribed(_world.Log, Settings.Name, text);

        // Set before the count: a reader that sees the new count also sees the reason.
        _fault = new(fault.Reason, text);
        Interlocked.Increment(ref _failures);
    }

    async Task PauseAsync(int attempt, CancellationToken cancellationToken)
    {
        double random;
        lock (_world.Random) random = _world.Random.NextDouble();
        await Task.Delay(
            Backoff.Next(Math.Max(1, attempt), RetryBase, RetryMax, random), _world.TimeProvider, cancellationToken)
            .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    sealed record Fault(string Reason, string Text);
}
