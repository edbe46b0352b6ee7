using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Net;
using SensorForwarder.Sensors;
using SensorForwarder.Time;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>What sources of kind <c>mqtt</c> are made of.</summary>
/// <param name="ClientIdPrefix">What client ids begin with; the same after a restart, and no other module's.</param>
internal sealed record MqttWorld(
    MqttOptions Options, string ClientIdPrefix, IntakeStore Store, Dialer Dialer, TimeProvider TimeProvider,
    Random Random, ILogger Log)
{
    // Of all messages that wait, on a device with little memory.
    const int MaxWaitingBytes = 24 << 20;

    public BodyRoom Room { get; } = new(MaxWaitingBytes);

    /// <summary>The alarms that are raised.</summary>
    public RaisedAlarms Alarms { get; init; } = new(null);

    /// <summary>The clock for the timeouts of connecting. Tests let it run while the other one stands.</summary>
    public TimeProvider DialClock { get; init; } = TimeProvider;
}

/// <summary>
/// Runs one <see cref="MqttSource"/> a sensor of kind <c>mqtt</c>, and changes only what changed when the settings do.
/// The session of a sensor that is gone is ended. Thread-safe; changes are applied one after the other.
/// </summary>
internal sealed class MqttIntake(MqttWorld world) : IHostedService, IDisposable
{
    /// <summary>How long closing the connections takes at most when the module stops.</summary>
    public static readonly TimeSpan StopPatience = 2 * MqttSession.StopPatience;

    readonly SemaphoreSlim _changes = new(1);
    readonly CancellationTokenSource _stop = new();

    // The sessions that are being ended. Guarded by _changes.
    readonly Dictionary<(MqttBroker Broker, string ClientId), Ending> _endings = [];

    // Replaced as a whole under _changes; read anywhere.
    volatile IReadOnlyDictionary<string, MqttSource> _sources = new Dictionary<string, MqttSource>();

    /// <summary>Every source as it is now.</summary>
    public IReadOnlyList<SensorHealth> Health => [.. _sources.Values.Select(source => source.Health)];

    /// <summary>A sensor of kind <c>mqtt</c>; null: there is none with this name.</summary>
    public MqttSource? Find(string name) => _sources.GetValueOrDefault(name);

    /// <summary>Starts what is new, ends what is gone, connects again what is different, and leaves the rest alone.
    /// </summary>
    public async Task ApplyAsync(
        IReadOnlyDictionary<string, SensorSettings> sensors, CancellationToken cancellationToken)
    {
        using var turn = await Turn.TakeAsync(_changes, cancellationToken);
        if (_stop.IsCancellationRequested) return;
        var wanted = sensors
            .Where(sensor => sensor.Value is { Kind.IsPushed: true, IsEnabled: true })
            .ToDictionary(StringComparer.Ordinal);
        var changed = _sources.Values
            .Where(source => wanted.GetValueOrDefault(source.Settings.Name) != source.Settings).ToList();
        await Task.WhenAll(changed.Select(source => source.DisposeAsync().AsTask()));

        foreach (var source in changed)
        {
            world.Store.Sources.Forget(source.Source);
            if (wanted.GetValueOrDefault(source.Settings.Name)?.Get(CommonOptions.Alarms) is not { Count: > 0 })
                source.Alarms?.Forget();
        }

        var sources = _sources.Values.Except(changed)
            .ToDictionary(source => source.Settings.Name, StringComparer.Ordinal);
        var begun = wanted.Values.Where(settings => !sources.ContainsKey(settings.Name))
            .Select(settings => new MqttSource(settings, world, changed)).ToList();
        foreach (var source in begun) sources[source.Settings.Name] = source;
        var sessions = sources.Values.Select(source => source.Session).ToHashSet();
        foreach (var gone in changed.Where(source => !sessions.Contains(source.Session))) End(gone);
        foreach (var source in begun) source.Start(StopEnding(source));
        _sources = sources;
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _changes.WaitAsync(cancellationToken);
        await _stop.CancelAsync();
        _changes.Release();
        await Task.WhenAll(_sources.Values.Select(source => source.DisposeAsync().AsTask()))
            .WaitAsync(cancellationToken);
    }

    public void Dispose()
    {
        _stop.Dispose();
        _changes.Dispose();
    }

    void End(MqttSource source)
    {
        var cancel = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        var task = Task.Run(() => source.EndSessionAsync(cancel.Token));
        _endings[source.Session] = new(task, cancel);
    }

    /// <summary>A source whose session is still being ended begins when that has stopped, in time or not.</summary>
    Task StopEnding(MqttSource source)
    {
        foreach (var (other, ending) in _endings.Where(ending => ending.Value.Task.IsCompleted).ToList())
        {
            _endings.Remove(other);
            ending.Cancel.Dispose();
        }

        if (!_endings.TryGetValue(source.Session, out var own)) return Task.CompletedTask;
        own.Cancel.Cancel();
        return own.Task;
    }

    sealed record Ending(Task Task, CancellationTokenSource Cancel);
}
