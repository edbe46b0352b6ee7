using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Net;
using SensorForwarder.Sensors;
using SensorForwarder.Time;

namespace SensorForwarder.Intake.Mqtt;

/// <summary>The dependencies of all sources of kind <c>mqtt</c>.</summary>
/// <param name="ClientIdPrefix">The beginning of client ids; unique to this module, and stable across restarts.</param>
internal sealed record MqttWorld(
    MqttOptions Options, string ClientIdPrefix, IntakeStore Store, Dialer Dialer, TimeProvider TimeProvider,
    Random Random, ILogger Log)
{
    // Memory for all messages that wait.
    const int MaxWaitingBytes = 24 << 20;

    public BodyRoom Room { get; } = new(MaxWaitingBytes);

    /// <summary>The raised alarms.</summary>
    public RaisedAlarms Alarms { get; init; } = new(null);

    /// <summary>The clock for the timeouts of connecting. Tests advance it separately from <see cref="TimeProvider"/>.
    /// </summary>
    public TimeProvider DialClock { get; init; } = TimeProvider;
}

/// <summary>
/// Runs one <see cref="MqttSource"/> per sensor of kind <c>mqtt</c>. New settings restart only sensors whose settings
/// changed. The session of a removed sensor is ended. Thread-safe; new settings are applied one after the other.
/// </summary>
internal sealed class MqttIntake(MqttWorld world) : IHostedService, IDisposable
{
    /// <summary>The longest time for closing the connections when the module stops.</summary>
    public static readonly TimeSpan StopPatience = 2 * MqttSession.StopPatience;

    readonly SemaphoreSlim _changes = new(1);
    readonly CancellationTokenSource _stop = new();

    // Sessions that are being ended. Guarded by _changes.
    readonly Dictionary<(MqttBroker Broker, string ClientId), Ending> _endings = [];

    // Replaced as a whole under _changes; read anywhere.
    volatile IReadOnlyDictionary<string, MqttSource> _sources = new Dictionary<string, MqttSource>();

    /// <summary>The state of all sources.</summary>
    public IReadOnlyList<SensorHealth> Health => [.. _sources.Values.Select(source => source.Health)];

    /// <summary>A sensor of kind <c>mqtt</c>; null: there is none with this name.</summary>
    public MqttSource? Find(string name) => _sources.GetValueOrDefault(name);

    /// <summary>Starts new sources, ends removed ones, restarts changed ones, and leaves the others running.</summary>
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

    /// <summary>If the session of a source is being ended, cancels that. The source starts when the task has completed,
    /// whether the session was ended or not.</summary>
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
