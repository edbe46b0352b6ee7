using Microsoft.Extensions.Hosting;
using SensorForwarder.Buffer;
using SensorForwarder.EdgeHub;
using SensorForwarder.Forwarding;
using SensorForwarder.Sensors;

namespace SensorForwarder.Operations;

/// <summary>How the link to the receiver does.</summary>
internal enum LinkState
{
    /// <summary>Nothing was sent yet, and nothing failed.</summary>
    Starting,

    /// <summary>The last attempt was accepted, or the hub is connected.</summary>
    Up,

    /// <summary>The hub is not connected, or the last attempt reached nobody.</summary>
    Down,

    /// <summary>The receiver is reached, and takes nothing from us until a person acts.</summary>
    Refusing,

    /// <summary>The receiver is reached, and answers with an error of its own; it may pass.</summary>
    Failing,

    /// <summary>A person holds it.</summary>
    Paused,
}

/// <summary>
/// What changes over time and no part keeps: how fast the queue grows, since when the link is as it is, and the last
/// hour of each sensor. Looks once a second; what it keeps is bounded whatever the settings are.
/// </summary>
internal sealed class Trends(
    TelemetryBuffer buffer, Forwarder forwarder, SensorScheduler scheduler, TimeProvider timeProvider,
    IEdgeHubClient? hub = null)
    : BackgroundService
{
    /// <summary>Values of sensors whose last hour is kept: half a kilobyte each.</summary>
    public const int MaxSeries = 400;

    /// <summary>Values of one sensor that are shown.</summary>
    public const int MaxValues = 16;

    /// <summary>A point each half minute.</summary>
    public const int Points = 120;

    static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);
    static readonly TimeSpan PointEvery = TimeSpan.FromSeconds(30);
    const int RateSeconds = 60;

    readonly long _started = timeProvider.GetTimestamp();
    readonly Lock _gate = new();

    // Guarded by _gate.
    readonly Queue<(long At, long Depth, long Accepted, long Committed)> _depths = new();
    readonly Dictionary<(string Sensor, string Value), float[]> _hour = [];
    LinkState _link = LinkState.Starting;
    Moment _linkSince = Moment.Now(timeProvider);
    long _point = -1;

    /// <summary>Counts up when <see cref="LastHour"/> has a new point.</summary>
    public long Revision { get; private set; }

    public TimeSpan Uptime => timeProvider.GetElapsedTime(_started);

    public (LinkState State, DateTimeOffset Since) Link
    {
        get { lock (_gate) return (_link, _linkSince.Time(timeProvider)); }
    }

    /// <summary>Readings a second over the last minute: how many more wait, how many were
    /// accepted, how many came.</summary>
    public (double Growth, double Accepted, double Committed) Rates
    {
        get
        {
            lock (_gate)
            {
                if (_depths.Count < 5) return default;
                var (first, last) = (_depths.Peek(), _depths.Last());
                var seconds = timeProvider.GetElapsedTime(first.At, last.At).TotalSeconds;
                if (seconds <= 0) return default;
                return ((last.Depth - first.Depth) / seconds, (last.Accepted - first.Accepted)
                    / seconds, (last.Committed - first.Committed) / seconds);
            }
        }
    }

    public bool GoesToHub(ForwardingStatus forwarding) =>
        hub is not null && forwarding.Sink == hub.Identity.DialledHostName;

    public QueueForecast Forecast(BufferStatus stored) => QueueForecast.Of(stored, Rates, Link.State == LinkState.Up);

    /// <summary>The last hour by sensor and value, oldest first; NaN where nothing was read.</summary>
    public IReadOnlyList<(string Sensor, string Value, float[] Points)> LastHour()
    {
        lock (_gate)
        {
            var next = (int)((_point + 1) % Points);
            return [.. _hour.Select(entry => (
                entry.Key.Sensor, entry.Key.Value, (float[])[.. entry.Value[next..], .. entry.Value[..next]]))];
        }
    }

    /// <summary>Takes the world as it is now.</summary>
    public void Look()
    {
        var (stored, forwarding, sensors) = (buffer.GetStatus(), forwarder.Status, scheduler.Health);
        lock (_gate)
        {
            var now = timeProvider.GetTimestamp();
            _depths.Enqueue((now, stored.Depth, forwarding.Readings, stored.CommittedReadings));
            if (_depths.Count > RateSeconds) _depths.Dequeue();
            var link = StateOf(forwarding);
            if (link != _link) (_link, _linkSince) = (link, Moment.Now(timeProvider));
            Note(sensors, (long)(timeProvider.GetElapsedTime(0, now) / PointEvery));
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(LookEvery, timeProvider);
        do Look();
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    LinkState StateOf(ForwardingStatus forwarding)
    {
        if (forwarding.Paused) return LinkState.Paused;
        var goesToHub = GoesToHub(forwarding);
        if (goesToHub && hub!.Status.State != HubState.Connected) return LinkState.Down;
        if (forwarding.LastError is not null)
        {
            return forwarding.LastErrorAnswer switch
            {
                null => LinkState.Down,
                SendOutcome.Retry => LinkState.Failing,
                _ => LinkState.Refusing,
            };
        }

        return goesToHub || forwarding.LastSuccess is not null ? LinkState.Up : LinkState.Starting;
    }

    void Note(IReadOnlyList<SensorHealth> sensors, long point)
    {
        if (point != _point)
        {
            // Points that nobody took are empty; the first time there is nothing to empty.
            for (var p = _point < 0 ? point : Math.Max(_point + 1, point - Points + 1); p <= point; p++)
            {
                foreach (var points in _hour.Values) points[p % Points] = float.NaN;
            }

            _point = point;
            Revision++;
            var names = sensors.Select(sensor => sensor.Name).ToHashSet(StringComparer.Ordinal);
            foreach (var gone in _hour.Keys.Where(key => !names.Contains(key.Sensor)).ToList()) _hour.Remove(gone);
        }

        foreach (var sensor in sensors.OrderBy(sensor => sensor.Name, StringComparer.Ordinal).Take(MaxSeries))
        {
            if (sensor is not { State: SensorState.Working, Last: { } last }) continue;
            foreach (var (name, value) in last.Values.Take(MaxValues))
            {
                if (!_hour.TryGetValue((sensor.Name, name), out var points))
                {
                    if (_hour.Count >= MaxSeries) continue;
                    _hour[(sensor.Name, name)] = points = new float[Points];
                    Array.Fill(points, float.NaN);
                }

                points[point % Points] = (float)value;
            }
        }
    }
}
