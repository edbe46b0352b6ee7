using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using SensorForwarder.Buffer;
using SensorForwarder.Readings;
using SensorForwarder.Time;

namespace SensorForwarder.Sensors;

/// <summary>
/// Runs one <see cref="SensorLoop"/> per sensor. A change of settings restarts only the sensors that it affects.
/// Thread-safe; changes are applied one at a time.
/// </summary>
internal sealed class SensorScheduler(
    SensorWorld world, TelemetryBuffer buffer, TimeProvider timeProvider, Random random,
    ILogger<SensorScheduler> logger)
    : IHostedService, IDisposable
{
    readonly SemaphoreSlim _changes = new(1);
    readonly Dictionary<string, BusWorker> _buses = new(StringComparer.Ordinal); // used under _changes
    readonly SensorClock _clock = new(timeProvider);
    readonly SavedWindows _windows = new(buffer, timeProvider, logger);
    readonly AlarmOutputs _outputs = new(world, timeProvider, logger);

    // Replaced as a whole under _changes; read anywhere.
    volatile IReadOnlyDictionary<string, SensorLoop> _loops = new Dictionary<string, SensorLoop>();
    volatile bool _stopped;

    public IReadOnlyList<SensorHealth> Health => [.. _loops.Values.Select(loop => loop.Health)];

    /// <summary>A sensor whose loop is stuck; null if there is none.</summary>
    public string? FindStuck(TimeSpan patience) => _stopped
        ? null
        : _loops.FirstOrDefault(loop => loop.Value.IsStuck(patience)).Key;

    public IReadOnlyCollection<SensorSettings> Running => [.. _loops.Values.Select(loop => loop.Settings)];

    public SensorWorld World => world;

    /// <summary>Starts new sensors, stops removed ones, restarts changed ones, and leaves the others running. Reports
    /// which alarms are removed, also those of sensors whose readings are pushed.</summary>
    public async Task ApplyAsync(
        IReadOnlyDictionary<string, SensorSettings> sensors, CancellationToken cancellationToken)
    {
        using var turn = await Turn.TakeAsync(_changes, cancellationToken);
        if (_stopped) return;
        var enabled = sensors.Where(sensor => sensor.Value is { Kind.IsPushed: false, IsEnabled: true })
            .ToDictionary(StringComparer.Ordinal);
        var watched = sensors.Values.Where(sensor => sensor.IsEnabled).ToList();
        var loops = new Dictionary<string, SensorLoop>(StringComparer.Ordinal);
        foreach (var (name, loop) in _loops)
        {
            if (enabled.TryGetValue(name, out var settings) && settings == loop.Settings)
            {
                loops[name] = loop;
                continue;
            }

            await loop.DisposeAsync();
            if (settings is null) SensorsLog.SensorStopped(logger, name);
        }

        foreach (var (name, settings) in enabled)
        {
            if (loops.ContainsKey(name)) continue;
            var loop = NewLoop(settings);
            loops[name] = loop;
            loop.Start();
            SensorsLog.SensorStarted(logger, name, settings.Kind.Name, settings.Interval.TotalSeconds);
        }

        _loops = loops;
        var running = loops.Values.Select(loop => loop.Settings).ToList();
        _windows.RestoreOthers([.. running.Where(sensor => sensor.Window is not null).Select(sensor => sensor.Name)]);
        world.Alarms.RemoveOthers(watched, timeProvider.GetUtcNow());
        _outputs.Apply(watched);
    }

    /// <summary>Reads a sensor now; null if there is no such sensor or sensing has stopped.</summary>
    public async Task<Reading?> ReadNowAsync(string name)
    {
        while (!_stopped && _loops.TryGetValue(name, out var loop))
        {
            if (await loop.ReadNowAsync() is { } reading) return reading;
            if (_stopped) break;

            // Its settings are being changed; it is read with the new ones.
            await _changes.WaitAsync();
            _changes.Release();
        }

        return null;
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _changes.WaitAsync(cancellationToken);
        var stoppedBefore = _stopped;
        _stopped = true;
        _changes.Release();
        if (stoppedBefore) return;
        try
        {
            await Task.WhenAll(_loops.Values.Select(loop => loop.DisposeAsync().AsTask())).WaitAsync(cancellationToken);
        }
        finally
        {
            // Before other parts stop: the process may be killed while they wait for a receiver.
            _ = CommitAsync();
        }
    }

    public void Dispose()
    {
        _outputs.Dispose();
        _clock.Dispose();
        _changes.Dispose();
    }

    async Task CommitAsync()
    {
        try
        {
            await buffer.CommitAsync(CancellationToken.None);
        }
        catch (BufferUnavailableException)
        {
            // The buffer was closed, which commits as well, or the volume fails.
        }
    }

    SensorLoop NewLoop(SensorSettings settings)
    {
        var bus = settings.Kind.Bus(settings) is { } name ? BusOf(name) : null;
        var session = new SensorSession(settings, world, bus?.Breaker, jitter: random.NextDouble(), logger);
        var windows = settings.Window is { } length
            ? new SensorWindows(settings, length, _windows, timeProvider)
            : null;
        var alarms = SensorAlarms.Of(settings, settings.Name, world.Alarms, timeProvider, logger);
        return new(settings, session, bus, windows, alarms, buffer, _clock, timeProvider, logger);
    }

    BusWorker BusOf(string name)
    {
        if (!_buses.TryGetValue(name, out var bus)) _buses[name] = bus = new(name, timeProvider);
        return bus;
    }
}
