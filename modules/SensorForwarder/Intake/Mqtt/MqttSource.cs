using Microsoft.Extensions.Logging;
using SensorForwarder.Sensors;
using SensorForwarder.Text;
using SensorForwarder.Time;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>
/// One sensor of kind <c>mqtt</c>: connects, takes messages until the connection ends, and connects again, after a
/// while that grows. Nothing that broker or network do ends it.
/// </summary>
internal sealed class MqttSource : IAsyncDisposable
{
    static readonly TimeSpan RetryBase = TimeSpan.FromSeconds(1);
    static readonly TimeSpan RetryMax = TimeSpan.FromSeconds(60);

    // A connection that ended sooner does not count as a success: two clients with one client id throw each other out.
    static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(10);

    // For a broker that is away just then.
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

    /// <param name="settings">The entry.</param>
    /// <param name="world">What it is made of.</param>
    /// <param name="stopped">What was stopped because the settings changed: one with the same session is continued.
    /// </param>
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

    /// <summary>What counts its messages.</summary>
    public IntakeSource Source { get; }

    /// <summary>Null: it has none.</summary>
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

    /// <summary>The session at the broker that it has: the broker keeps messages for it.</summary>
    public (MqttBroker Broker, string ClientId) Session => (Subscription.Broker, ClientId);

    /// <param name="after">Ends first.</param>
    public void Start(Task after) => _loop = Task.Run(() => RunAsync(after));

    /// <summary>Takes no more messages; the broker keeps them.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop;
        Alarms?.Dispose();
        _stop.Dispose();
    }

    /// <summary>Ends the session of a source that was disposed, so that the broker keeps nothing for it.</summary>
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

    /// <summary>Connects, and takes messages until the connection ends.</summary>
    /// <returns>It was of use: the next attempt need not wait longer than the first.</returns>
    async Task<bool> TakeAsync()
    {
        using var session = new MqttSession(
            Subscription, _world.Store, Source, _world.Room, _lastSeen, Alarms, _world.TimeProvider);
        var (client, hasSession, refused) = await _dialer.OpenAsync(session.Attach, _unwanted, _stop.Token);
        if (_hadSession && !hasSession)
            IntakeLog.SessionLost(_world.Log, Settings.Name, Subscription.Broker.ToString());
        _hadSession = true;
        var connectedAt = _world.TimeProvider.GetTimestamp();

        // The topics that the broker grants are taken nevertheless, and the others asked for again after a while.
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

        // Refused topics are no reason for an alarm while messages of the others come.
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

        // Whoever sees the number also sees why.
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
